// Package extender has the program of the tour that extends the scheduler over HTTP: it filters nodes by a label, scores them by an
// annotation, and binds pods itself.
//
//	kl-engine tour extender --label disk=ssd
//
// The scheduler's configuration names it with urlPrefix, filterVerb: filter, prioritizeVerb: prioritize and bindVerb: bind. It needs a
// ServiceAccount that may create pods/binding, and get nodes if nodeCacheCapable is true.
package extender

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	scheduler "k8s.io/kube-scheduler/extender/v1"

	"github.com/klkube/kl/embedded/tour"
)

const (
	// maxArgs is the largest call that is read, in bytes. It has all nodes of the cluster, unless nodeCacheCapable is true.
	maxArgs = 64 << 20
	// clientTimeout is how long the API server may take. The scheduler waits for 5 s unless it is told otherwise.
	clientTimeout = 4 * time.Second
)

// Extender filters and scores nodes for the scheduler, and binds pods.
func Extender() tour.Program {
	e := &extender{}
	return tour.Program{
		Name: "extender", Short: "extends the scheduler: filters and scores nodes, binds pods", Run: e.run,
		Long: `It serves over HTTP, for the fields filterVerb, prioritizeVerb and bindVerb of a scheduler's configuration:
  /filter      keeps the nodes that have the label of --label
  /prioritize  scores each node with its annotation --score, a number from 0 to 10; 0 without it
  /bind        binds the pod to the node, as the pod's ServiceAccount or with --kubeconfig
  /healthz     "ok"`,
		Flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&e.listen, "listen", ":8888", "address to serve on")
			fs.StringVar(&e.label, "label", "", "label that nodes need, KEY=VALUE; all nodes fit if empty")
			fs.StringVar(&e.score, "score", "tour.kl.dev/score", "annotation of a node that is its score")
			fs.StringVar(&e.kubeconfig, "kubeconfig", "", "file to reach the API server with; the pod's ServiceAccount if empty")
		},
	}
}

type extender struct {
	listen, label, score, kubeconfig string

	log      *tour.Log
	selector labels.Selector
	client   kubernetes.Interface
}

func (e *extender) run(ctx context.Context, _ []string, log *tour.Log) error {
	e.log, e.selector = log, labels.Everything()
	if e.label != "" {
		selector, err := labels.ValidatedSelectorFromSet(labels.Set(labelOf(e.label)))
		if err != nil || !strings.Contains(e.label, "=") {
			return tour.Usagef("--label is %q: want KEY=VALUE, as in disk=ssd", e.label)
		}
		e.selector = selector
	}
	config, err := tour.ClientConfig(e.kubeconfig)
	if err != nil {
		return err
	}
	config.Timeout, config.QPS = clientTimeout, -1 // without a limit: the scheduler asks about one pod at a time
	if e.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	l, err := tour.Listen(ctx, e.listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/filter", e.filter)
	mux.HandleFunc("/prioritize", e.prioritize)
	mux.HandleFunc("/bind", e.bind)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	log.Printf("extender listens: http %s", l.Addr())
	return tour.ServeHTTP(ctx, l, mux, log)
}

// labelOf splits KEY=VALUE.
func labelOf(text string) map[string]string {
	key, value, _ := strings.Cut(text, "=")
	return map[string]string{key: value}
}

// nodes reads a call and returns the nodes that it is about. With nodeCacheCapable, the scheduler sends names alone.
func (e *extender) nodes(w http.ResponseWriter, r *http.Request) (args scheduler.ExtenderArgs, nodes []corev1.Node, ok bool) {
	if !tour.ReadJSON(w, r, maxArgs, &args) {
		return args, nil, false
	}
	switch {
	case args.Pod == nil || args.Nodes == nil && args.NodeNames == nil:
		http.Error(w, r.URL.Path+": the body has no Pod, or neither Nodes nor NodeNames", http.StatusBadRequest)
		return args, nil, false
	case args.Nodes != nil:
		return args, args.Nodes.Items, true
	}
	for _, name := range *args.NodeNames {
		node, err := e.client.CoreV1().Nodes().Get(r.Context(), name, metav1.GetOptions{})
		if err != nil {
			e.log.Printf("%s pod %s/%s: %v", strings.TrimPrefix(r.URL.Path, "/"), args.Pod.Namespace, args.Pod.Name, err)
			http.Error(w, err.Error(), http.StatusBadGateway)
			return args, nil, false
		}
		nodes = append(nodes, *node)
	}
	return args, nodes, true
}

func (e *extender) filter(w http.ResponseWriter, r *http.Request) {
	args, nodes, ok := e.nodes(w, r)
	if !ok {
		return
	}
	fit, names := []corev1.Node{}, []string{}
	failed := scheduler.FailedNodesMap{}
	for _, n := range nodes {
		if e.selector.Matches(labels.Set(n.Labels)) {
			fit, names = append(fit, n), append(names, n.Name)
		} else {
			failed[n.Name] = "the extender wants the label " + e.label
		}
	}
	e.log.Printf("filter pod %s/%s: %d of %d nodes fit: %s", args.Pod.Namespace, args.Pod.Name, len(fit), len(nodes), list(names))
	// A pod that is evicted gives a node no label, so there is nothing to gain from preemption.
	result := scheduler.ExtenderFilterResult{FailedAndUnresolvableNodes: failed}
	if args.Nodes != nil {
		result.Nodes = &corev1.NodeList{Items: fit}
	} else {
		result.NodeNames = &names
	}
	tour.WriteJSON(w, result)
}

func (e *extender) prioritize(w http.ResponseWriter, r *http.Request) {
	args, nodes, ok := e.nodes(w, r)
	if !ok {
		return
	}
	scores, said := scheduler.HostPriorityList{}, []string{}
	for _, n := range nodes {
		score := e.scoreOf(n)
		scores, said = append(scores, scheduler.HostPriority{Host: n.Name, Score: score}), append(said, fmt.Sprintf("%s %d", n.Name, score))
	}
	e.log.Printf("prioritize pod %s/%s: %s", args.Pod.Namespace, args.Pod.Name, list(said))
	tour.WriteJSON(w, scores)
}

// scoreOf is a node's score. One that is no number from 0 to 10 is logged and counts as 0.
func (e *extender) scoreOf(n corev1.Node) int64 {
	text, ok := n.Annotations[e.score]
	if !ok {
		return scheduler.MinExtenderPriority
	}
	score, err := strconv.ParseInt(text, 10, 64)
	if err != nil || score < scheduler.MinExtenderPriority || score > scheduler.MaxExtenderPriority {
		e.log.Printf("node %s: annotation %s is %q: want a number from 0 to 10", n.Name, e.score, text)
		return scheduler.MinExtenderPriority
	}
	return score
}

func (e *extender) bind(w http.ResponseWriter, r *http.Request) {
	var args scheduler.ExtenderBindingArgs
	if !tour.ReadJSON(w, r, maxArgs, &args) {
		return
	}
	if args.PodName == "" || args.PodNamespace == "" || args.Node == "" {
		http.Error(w, "/bind: the body lacks PodName, PodNamespace or Node", http.StatusBadRequest)
		return
	}
	err := e.client.CoreV1().Pods(args.PodNamespace).Bind(r.Context(), &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: args.PodNamespace, Name: args.PodName, UID: args.PodUID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: args.Node},
	}, metav1.CreateOptions{})
	var result scheduler.ExtenderBindingResult
	if err != nil {
		result.Error = err.Error()
	}
	e.log.Printf("bind pod %s/%s to %s: %s", args.PodNamespace, args.PodName, args.Node, cmp.Or(result.Error, "ok"))
	tour.WriteJSON(w, result)
}

// list is a sorted list in words.
func list(items []string) string {
	slices.Sort(items)
	return cmp.Or(strings.Join(items, ", "), "none")
}
