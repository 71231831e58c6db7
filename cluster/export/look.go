package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/observe"
)

// Limits of the first look at a cluster, on which everything else depends.
const (
	inspectLimit = 15 * time.Second
	answerLimit  = 5 * time.Second  // for an API server that is asked for its version
	listLimit    = 20 * time.Second // for what the summary is made of
	pageSize     = 500              // objects
)

// Cluster is what is exported, and how it is reached.
type Cluster struct {
	Layout  cluster.Layout
	Version string // of kl
	// Inspect says what kl knows of the cluster.
	Inspect func(ctx context.Context) (host.Info, error)
	// Driver opens the cluster's driver, which is closed at the end.
	Driver func(ctx context.Context) (cluster.Driver, error)
	// REST is how the API is reached, as an administrator. The error says why it cannot answer, as that of host.Serving.
	REST func() (*rest.Config, error)
	// Documents are added to the bundle as they are.
	Documents []Document
}

// Document is a file that somebody else writes, such as the output of a command.
type Document struct {
	File  string // its path in the bundle
	About string
	Limit time.Duration
	Write func(ctx context.Context, w io.Writer) error
}

// sight is what the first look has found. It does not change.
type sight struct {
	info     host.Info
	infoErr  error
	driver   cluster.Driver // nil if it cannot be opened
	nodeErr  error
	api      *clients // nil if the API does not answer
	apiErr   error
	nodes    []corev1.Node
	pods     []corev1.Pod
	events   []corev1.Event
	secrets  known
	searched bool     // secrets has the values of all Secrets
	unlisted []string // what could not be listed, and why
}

// clients are those of an API server that has answered.
type clients struct {
	kubernetes kubernetes.Interface
	dynamic    dynamic.Interface
	discovery  discovery.DiscoveryInterface
}

// look takes a first look. It always returns, and soon.
func look(ctx context.Context, c Cluster) *sight {
	s := &sight{}
	var wg sync.WaitGroup
	wg.Go(func() {
		var info host.Info
		err := bounded(ctx, inspectLimit, func(ctx context.Context) (err error) { info, err = c.Inspect(ctx); return err })
		if s.infoErr = err; err == nil {
			s.info = info
		}
	})
	wg.Go(func() {
		opened := make(chan cluster.Driver, 1)
		s.nodeErr = bounded(ctx, inspectLimit, func(ctx context.Context) error {
			d, err := c.Driver(ctx)
			if err == nil {
				opened <- d
			}
			return err
		})
		if s.nodeErr == nil {
			s.driver = <-opened
		}
	})
	wg.Go(func() {
		if s.api, s.apiErr = connect(ctx, c); s.apiErr == nil {
			s.list(ctx)
		}
	})
	wg.Wait()
	if !s.searched {
		s.unlisted = append(s.unlisted, "search of logs for values of Secrets: the Secrets could not be read")
	}
	return s
}

// connect returns clients of an API server that answers.
func connect(ctx context.Context, c Cluster) (*clients, error) {
	rc, err := c.REST()
	if err != nil {
		return nil, err
	}
	rc = rest.CopyConfig(rc)
	rc.QPS, rc.UserAgent = -1, "kl-export"
	rc.WarningHandler = rest.NoWarnings{} // nobody is to migrate what is only listed
	k, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	d, err := dynamic.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	found := &clients{kubernetes: k, dynamic: d}
	slow := rest.CopyConfig(rc)
	slow.Timeout = listLimit // discovery takes no context
	if found.discovery, err = discovery.NewDiscoveryClientForConfig(slow); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	_, err = k.Discovery().RESTClient().Get().AbsPath("/version").DoRaw(ctx)
	var answer apierrors.APIStatus
	if errors.As(err, &answer) {
		return nil, fmt.Errorf("the API server is not ready: it answers with code %d", answer.Status().Code)
	}
	if err != nil {
		return nil, fmt.Errorf("the API server does not answer: %w", err)
	}
	return found, nil
}

// list reads what the summary and several parts are made of. What cannot be listed is named.
func (s *sight) list(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	core := s.api.kubernetes.CoreV1()
	var secrets []corev1.Secret
	var mu sync.Mutex
	var wg sync.WaitGroup
	for kind, read := range map[string]func(metav1.ListOptions) (string, error){
		"nodes": func(o metav1.ListOptions) (string, error) {
			l, err := core.Nodes().List(ctx, o)
			return add(&s.nodes, l.Items, l.Continue, err)
		},
		"pods": func(o metav1.ListOptions) (string, error) {
			l, err := core.Pods("").List(ctx, o)
			return add(&s.pods, l.Items, l.Continue, err)
		},
		"events": func(o metav1.ListOptions) (string, error) {
			l, err := core.Events("").List(ctx, o)
			return add(&s.events, l.Items, l.Continue, err)
		},
		"secrets": func(o metav1.ListOptions) (string, error) {
			l, err := core.Secrets("").List(ctx, o)
			return add(&secrets, l.Items, l.Continue, err)
		},
	} {
		wg.Go(func() {
			err := pages(read)
			mu.Lock()
			defer mu.Unlock()
			if kind == "secrets" {
				s.searched = err == nil
			}
			if err != nil {
				s.unlisted = append(s.unlisted, fmt.Sprintf("list of %s: %s", kind, reason(err)))
			}
		})
	}
	wg.Wait()
	s.secrets = newKnown(secrets)
}

// add appends a page of a list to what is there.
func add[T any](to *[]T, items []T, next string, err error) (string, error) {
	if err == nil {
		*to = append(*to, items...)
	}
	return next, err
}

// pages reads a list page by page.
func pages(read func(metav1.ListOptions) (next string, err error)) error {
	for o := (metav1.ListOptions{Limit: pageSize}); ; {
		next, err := read(o)
		if err != nil || next == "" {
			return err
		}
		o.Continue = next
	}
}

// snapshot is what was listed, in the form that package observe judges.
func (s *sight) snapshot(now time.Time) *observe.Snapshot {
	return observe.NewSnapshot(observe.Snapshot{
		Taken: now, Nodes: pointers(s.nodes), Pods: pointers(s.pods), Events: pointers(s.events), KL: s.info.Status,
	})
}

func pointers[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// running returns the cluster's nodes that commands can be run in. For the others it notes why not.
func (s *sight) running(to *Folder) ([]cluster.Node, cluster.Execer) {
	execer, ok := s.driver.(cluster.Execer)
	switch {
	case s.driver == nil:
		to.Miss("nodes", s.nodeErr)
		return nil, nil
	case !ok:
		to.Miss("nodes", errors.New("they are simulated"))
		return nil, nil
	}
	var nodes []cluster.Node
	for _, n := range s.info.Nodes {
		if n.State != cluster.NodeRunning {
			to.Miss("node "+n.Name, fmt.Errorf("it is %s, so no command can be run there", n.State))
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes, execer
}
