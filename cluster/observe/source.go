package observe

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
)

// Config says what to observe. REST is required.
type Config struct {
	REST      *rest.Config
	Name      string          // shown as the cluster's name
	Namespace string          // only objects of this namespace; all if empty
	Fallback  string          // the same, if the user may not list the pods of all namespaces
	Layout    *cluster.Layout // of a kl cluster on this machine: adds component states and certificates
	Logger    *slog.Logger    // discards if nil

	MetricsEvery time.Duration // how often metrics are asked for; 15 s if 0
	ProbeEvery   time.Duration // how often a live connection is probed; 5 s if 0
}

// Source keeps a Snapshot current.
//
//	New ──Run──► connecting ──► live ◄──► lost ──ctx done──► returned
//
// Run is called once and blocks until ctx is done; by the time it returns, its goroutines and connections are gone.
// Snapshot may be called at any time by any goroutine.
type Source struct {
	cfg     Config
	client  kubernetes.Interface
	metrics metricsclient.Interface
	log     *slog.Logger

	current *latest.Value[*Snapshot]

	mu    sync.Mutex
	next  Snapshot // what will be published next
	feeds []*feed  // the present informers

	restart chan struct{} // holds a token if new informers are needed

	dirty chan struct{} // holds a token if next has changed since it was published
	probe chan struct{} // holds a token if a watch failed, so that the server is asked at once
}

// publishEvery limits how often readers are woken: ten frames a second look live, more would only cost CPU.
const publishEvery = 100 * time.Millisecond

// New prepares a source; nothing is connected before Run.
func New(cfg Config) (*Source, error) {
	rc := rest.CopyConfig(cfg.REST)
	rc.QPS, rc.Burst = 200, 400 // the default of 5 a second would delay the first frame
	rc.UserAgent = "kl-ui"
	typed := rest.CopyConfig(rc)
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	typed.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	mc, err := metricsclient.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("make metrics client: %w", err)
	}
	if cfg.MetricsEvery == 0 {
		cfg.MetricsEvery = 15 * time.Second
	}
	if cfg.ProbeEvery == 0 {
		cfg.ProbeEvery = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Source{
		cfg: cfg, client: client, metrics: mc, log: cfg.Logger,
		restart: make(chan struct{}, 1), dirty: make(chan struct{}, 1), probe: make(chan struct{}, 1),
	}
	s.next = Snapshot{Name: cfg.Name, Server: rc.Host, Only: cfg.Namespace, Loading: kindNames()}
	s.next.Conn = Connection{State: Connecting, Since: time.Now()}
	first := s.next
	first.Taken = time.Now()
	s.current = latest.New(NewSnapshot(first))
	return s, nil
}

// Snapshot returns the newest snapshot, never nil, and a channel that is closed when a newer one exists.
func (s *Source) Snapshot() (*Snapshot, <-chan struct{}) { return s.current.Get() }

// Run observes until ctx is done and returns ctx.Err().
func (s *Source) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, part := range []func(context.Context){
		s.publish, s.pollUsage, s.pollTraffic, s.watchActivity, s.pollPlane, s.watchStatus, s.watchDisk, s.watchVerdicts, s.keepProbing,
	} {
		wg.Go(func() { part(ctx) })
	}
	for ctx.Err() == nil {
		s.observe(ctx)
	}
	wg.Wait()
	return ctx.Err()
}

// update changes what the next snapshot will show.
func (s *Source) update(change func(*Snapshot)) {
	s.mu.Lock()
	change(&s.next)
	s.mu.Unlock()
	s.touch()
}

func (s *Source) touch() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// publish replaces the current snapshot whenever something changed, at most every publishEvery.
func (s *Source) publish(ctx context.Context) {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-s.dirty:
		}
		s.replace()
		tick.Reset(publishEvery)
	}
}

func (s *Source) replace() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collect(&s.next)
	snap := s.next
	snap.Taken = time.Now()
	s.current.Set(NewSnapshot(snap))
}

// keepProbing asks the server for its version: every ProbeEvery while it answers, at once when a watch has failed, and with
// back-off while it does not answer. Watches alone do not suffice: on a dead connection they report nothing. When a lost
// server answers again, keepProbing asks for new informers, because the old ones back off for up to half a minute.
func (s *Source) keepProbing(ctx context.Context) {
	pause := time.Duration(0)
	backoff := probeBackoff()
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.probe:
			timer.Stop()
		}
		version, err := s.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			backoff, pause = probeBackoff(), s.cfg.ProbeEvery
			s.connected(version)
			continue
		}
		pause = backoff.Step()
		s.disconnected(err, pause)
		drain(s.probe) // that watches fail is known by now
	}
}

func probeBackoff() wait.Backoff {
	return wait.Backoff{Duration: time.Second / 2, Factor: 2, Steps: 10, Cap: 8 * time.Second}
}

func (s *Source) connected(version string) {
	s.mu.Lock()
	was := s.next.Conn.State
	s.mu.Unlock()
	if was == Live {
		return
	}
	if was == Lost {
		select {
		case s.restart <- struct{}{}:
		default:
		}
	}
	s.update(func(n *Snapshot) {
		n.Version = version
		n.Conn = Connection{State: Live, Since: time.Now()}
	})
}

func (s *Source) disconnected(err error, retry time.Duration) {
	s.update(func(n *Snapshot) {
		if n.Conn.State == Live {
			n.Conn.State, n.Conn.Since = Lost, time.Now()
		}
		n.Conn.Err, n.Conn.Retry = shortError(err), time.Now().Add(retry)
	})
}

// ask returns the server's version.
func (s *Source) ask(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	raw, err := s.client.Discovery().RESTClient().Get().AbsPath("/version").SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		return "", err
	}
	return parseVersion(raw)
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}
