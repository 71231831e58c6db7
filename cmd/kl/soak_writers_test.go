//go:build e2e

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/cluster"
)

const (
	writeInterval = 100 * time.Millisecond
	writeTimeout  = time.Second
	outstanding   = 8   // requests of a writer at a time, at most
	keptMaps      = 200 // ConfigMaps; older ones are deleted
	soakLabel     = "kl.test/soak"
)

// writers write to the cluster all the time and note what it acknowledges.
type writers struct {
	config *rest.Config
	client *kubernetes.Clientset
	maps   *ledger            // ConfigMaps
	lines  map[string]*ledger // lines of the journal in the pod
	stop   func()
}

// ledger is what a writer knows about its entries, which are numbered from 1. An entry whose request failed is in none of the
// maps: it may or may not exist.
type ledger struct {
	mu     sync.Mutex
	issued int
	kept   map[int]bool
	order  []int        // those of kept, as they were acknowledged
	gone   map[int]bool // whose deletion was acknowledged
	latest time.Time    // when the latest acknowledged request began
	acks   int
	err    error // of the latest request that failed
}

func newLedger() *ledger { return &ledger{kept: map[int]bool{}, gone: map[int]bool{}} }

func startWriters(t *testing.T, l cluster.Layout) *writers {
	config, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1 // no limit
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &writers{config: config, client: client, maps: newLedger(), lines: map[string]*ledger{"journal-0": newLedger(), "journal-1": newLedger()}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { repeat(ctx, func(ctx context.Context) { w.writeMap(ctx) }) })
	for pod, l := range w.lines {
		wg.Go(func() { repeat(ctx, func(ctx context.Context) { w.writeLine(ctx, pod, l) }) })
	}
	w.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(w.stop)
	return w
}

// repeat calls f at every interval, whether or not earlier calls have returned, until ctx is done.
func repeat(ctx context.Context, f func(context.Context)) {
	tick := time.NewTicker(writeInterval)
	defer tick.Stop()
	slots := make(chan struct{}, outstanding)
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case slots <- struct{}{}:
		default:
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			limited, cancel := context.WithTimeout(ctx, writeTimeout)
			defer cancel()
			f(limited)
		})
	}
}

func mapName(id int) string { return fmt.Sprintf("soak-%d", id) }

// writeMap makes a ConfigMap, and deletes the oldest one if there are many.
func (w *writers) writeMap(ctx context.Context) {
	maps := w.client.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	id, began := w.maps.issue(), time.Now()
	_, err := maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: mapName(id), Labels: map[string]string{soakLabel: "true"}},
		Data:       map[string]string{"id": strconv.Itoa(id)},
	}, metav1.CreateOptions{})
	w.maps.acknowledge(id, began, err)
	if err != nil {
		return
	}
	if id, ok := w.maps.surplus(keptMaps); ok {
		if maps.Delete(ctx, mapName(id), metav1.DeleteOptions{}) == nil {
			w.maps.deleted(id)
		}
	}
}

func (w *writers) writeLine(ctx context.Context, pod string, l *ledger) {
	id, began := l.issue(), time.Now()
	err := w.journal("POST", pod).Body([]byte(strconv.Itoa(id))).Do(ctx).Error()
	l.acknowledge(id, began, err)
}

func (w *writers) journal(verb, pod string) *rest.Request {
	return w.client.CoreV1().RESTClient().Verb(verb).Namespace(metav1.NamespaceDefault).Resource("pods").Name(pod + ":8080").SubResource("proxy")
}

func (l *ledger) issue() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.issued++
	return l.issued
}

func (l *ledger) acknowledge(id int, began time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.err = err
		return
	}
	l.acks++
	l.kept[id] = true
	l.order = append(l.order, id)
	if began.After(l.latest) {
		l.latest = began
	}
}

// surplus takes the oldest entry out of those kept if there are more than limit.
func (l *ledger) surplus(limit int) (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.order) <= limit {
		return 0, false
	}
	id := l.order[0]
	l.order = l.order[1:]
	delete(l.kept, id)
	return id, true
}

func (l *ledger) deleted(id int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone[id] = true
}

// wroteSince returns nil if a request that began after t was acknowledged.
func (l *ledger) wroteSince(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.latest.After(t) {
		return nil
	}
	return fmt.Errorf("nothing acknowledged yet: %w", l.err)
}

// expected returns what has to exist, and what must not.
func (l *ledger) expected() (kept, gone []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.gone {
		gone = append(gone, id)
	}
	return slices.Clone(l.order), gone
}

// missing returns the entries of kept that are not in have, unless they have been deleted in the meantime.
func (l *ledger) missing(kept []int, have map[int]bool) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(kept, func(id int) bool { return have[id] || !l.kept[id] })
}

// check compares what was acknowledged before read is called with what read finds.
func (l *ledger) check(read func() (map[int]bool, error)) error {
	kept, gone := l.expected()
	have, err := read()
	if err != nil {
		return err
	}
	l.mu.Lock()
	issued := l.issued
	l.mu.Unlock()
	if lost := l.missing(kept, have); len(lost) > 0 {
		return fmt.Errorf("%d of %d acknowledged entries are missing, the first is %d", len(lost), len(kept), slices.Min(lost))
	}
	for _, id := range gone {
		if have[id] {
			return fmt.Errorf("entry %d was deleted, and is back", id)
		}
	}
	for id := range have {
		if id < 1 || id > issued {
			return fmt.Errorf("entry %d was never written", id)
		}
	}
	return nil
}

// verify checks that nothing acknowledged is missing.
func (s *soak) verify() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), giveUp)
	defer cancel()
	if err := s.maps.check(func() (map[int]bool, error) { return s.readMaps(ctx) }); err != nil {
		s.t.Fatalf("ConfigMaps: %v", err)
	}
	for pod, l := range s.lines {
		if err := l.check(func() (map[int]bool, error) { return s.readLines(ctx, pod) }); err != nil {
			s.t.Fatalf("lines of %s: %v", pod, err)
		}
	}
}

func (w *writers) readMaps(ctx context.Context) (map[int]bool, error) {
	list, err := w.client.CoreV1().ConfigMaps(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: soakLabel})
	if err != nil {
		return nil, err
	}
	have := map[int]bool{}
	for _, m := range list.Items {
		id, err := strconv.Atoi(m.Data["id"])
		if err != nil || m.Name != mapName(id) {
			return nil, fmt.Errorf("%s contains %q", m.Name, m.Data)
		}
		have[id] = true
	}
	return have, nil
}

func (w *writers) readLines(ctx context.Context, pod string) (map[int]bool, error) {
	text, err := w.journal("GET", pod).Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	have := map[int]bool{}
	for line := range strings.Lines(string(text)) {
		id, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("damaged line: %w", err)
		}
		if have[id] {
			return nil, fmt.Errorf("line %d is there twice", id)
		}
		have[id] = true
	}
	return have, nil
}

// summary says how much was written.
func (w *writers) summary() string {
	lines := 0
	for _, l := range w.lines {
		lines += l.acks
	}
	return fmt.Sprintf("%d ConfigMaps and %d lines were acknowledged, none is missing", w.maps.acks, lines)
}
