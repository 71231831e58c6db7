package host

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/klkube/kl/cluster"
)

// Host is a machine that clusters live on. Its methods are safe for concurrent use, from several processes too: what
// changes a cluster holds that cluster's lock.
type Host struct {
	Home cluster.Home
	// OpenDriver returns the driver of that name. The caller closes it.
	OpenDriver func(ctx context.Context, name cluster.DriverName) (cluster.Driver, error)
	// Drivers are the names that driver auto tries, in this order.
	Drivers []cluster.DriverName
	// Payload returns what nodes and the control plane are made of, unpacked.
	Payload func(ctx context.Context) (cluster.Payload, error)
	// Preflight looks at the machine before up starts anything: what would fail is an error, warn gets what might. Nil
	// looks at nothing.
	Preflight func(ctx context.Context, cluster string, nodes int, warn func(string)) error
	// Simulate makes the cluster have as many simulated nodes as its Spec asks for, and reports how many of how many it
	// has done; the API answers by then. Nil refuses clusters with simulated nodes.
	Simulate func(ctx context.Context, l cluster.Layout, s cluster.Spec, progress func(done, of int)) error
	// StartAtBoot makes the machine start a cluster when it boots, or no longer; nil does nothing.
	StartAtBoot func(ctx context.Context, l cluster.Layout, on bool) (cluster.Autostart, error)
	// Events is told what happens, one call at a time; nil discards.
	Events func(cluster.Event)
	// Logger gets what a person need not see; nil discards.
	Logger *slog.Logger
	// Kubeconfigs are the files kubectl reads ($KUBECONFIG or ~/.kube/config), in its order.
	Kubeconfigs []string
}

// recorder turns the progress of steps into events and remembers how long each took.
type recorder struct {
	emit  func(cluster.Event)
	begin time.Time

	mu    sync.Mutex
	open  map[string]time.Time     // when a step began; zero once it is over
	said  map[string]cluster.Event // the last event of a step
	steps []cluster.Step
}

func newRecorder(emit func(cluster.Event)) *recorder {
	if emit == nil {
		emit = func(cluster.Event) {}
	}
	return &recorder{emit: emit, begin: time.Now(), open: map[string]time.Time{}, said: map[string]cluster.Event{}}
}

func (r *recorder) start(step string) { r.say(step, cluster.StepStarted, "") }
func (r *recorder) done(step, message string) {
	r.say(step, cluster.StepDone, message)
}

// say emits an event. A step that never started starts now; one that is over stays over.
func (r *recorder) say(step string, state cluster.StepState, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	e := cluster.Event{Time: now, Step: step, State: state, Message: message}
	if state == cluster.StepWarning {
		r.emit(e)
		return
	}
	began, ok := r.open[step]
	last := r.said[step]
	switch {
	case ok && began.IsZero(), ok && state == cluster.StepStarted, ok && last.State == state && last.Message == message:
		return
	case !ok:
		began = now
		r.open[step] = began
	}
	r.said[step] = e
	if state == cluster.StepDone || state == cluster.StepFailed {
		took := now.Sub(began)
		e.Seconds = took.Seconds()
		r.steps = append(r.steps, cluster.Step{Name: step, Began: began.Sub(r.begin).Seconds(), Seconds: took.Seconds()})
		r.open[step] = time.Time{}
	}
	r.emit(e)
}

// waitingFor returns what acquire calls with whoever holds the lock of a cluster.
func (r *recorder) waitingFor(name string) func(holder) {
	return func(who holder) {
		r.say(cluster.StepLock, cluster.StepWarning, fmt.Sprintf("process %d (%s) is working on cluster %s: waiting for it", who.PID, who.Command, name))
	}
}

// do runs f as a step.
func (r *recorder) do(step string, f func() (message string, err error)) error {
	r.start(step)
	message, err := f()
	if err != nil {
		r.say(step, cluster.StepFailed, err.Error())
		return err
	}
	r.done(step, message)
	return nil
}

// within is do for a step among others: if it fails because ctx ended, the reason is told elsewhere.
func (r *recorder) within(ctx context.Context, step string, f func() (message string, err error)) error {
	r.start(step)
	message, err := f()
	switch {
	case err == nil:
		r.done(step, message)
	case ctx.Err() != nil:
		r.say(step, cluster.StepFailed, "")
	default:
		r.say(step, cluster.StepFailed, err.Error())
	}
	return err
}

// fail ends every step that is still open. Why is told with the error that the command returns.
func (r *recorder) fail() {
	r.mu.Lock()
	var open []string
	for step, began := range r.open {
		if !began.IsZero() {
			open = append(open, step)
		}
	}
	r.mu.Unlock()
	for _, step := range open {
		r.say(step, cluster.StepFailed, "")
	}
}

func (r *recorder) finished() (steps []cluster.Step, total time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]cluster.Step(nil), r.steps...), time.Since(r.begin)
}
