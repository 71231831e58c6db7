package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Host is a machine that clusters live on. Its methods are safe for concurrent use, from several processes too: what
// changes a cluster holds that cluster's lock.
type Host struct {
	Home Home
	// OpenDriver returns the driver of that name. The caller closes it.
	OpenDriver func(ctx context.Context, name string) (Driver, error)
	// Drivers are the names that driver auto tries, in this order.
	Drivers []string
	// Payload returns what nodes and the control plane are made of, unpacked.
	Payload func(ctx context.Context) (Payload, error)
	// Preflight looks at the machine before up starts anything: what would fail is an error, warn gets what might. Nil
	// looks at nothing.
	Preflight func(ctx context.Context, cluster string, nodes int, warn func(string)) error
	// Simulate makes the cluster have as many simulated nodes as its Spec asks for, and reports how many of how many it
	// has done; the API answers by then. Nil refuses clusters with simulated nodes.
	Simulate func(ctx context.Context, l Layout, s Spec, progress func(done, of int)) error
	// StartAtBoot makes the machine start a cluster when it boots, or no longer; nil does nothing.
	StartAtBoot func(ctx context.Context, l Layout, on bool) (Autostart, error)
	// Events is told what happens, one call at a time; nil discards.
	Events func(Event)
	// Logger gets what a person need not see; nil discards.
	Logger *slog.Logger
	// Kubeconfigs are the files kubectl reads ($KUBECONFIG or ~/.kube/config), in its order.
	Kubeconfigs []string
}

// Autostart is how a cluster starts at boot.
type Autostart struct {
	Path string // the file that says so
	Note string // one line: what stands in the way, and what to do about it; empty if nothing does
}

// StepState is how far a step is.
type StepState string

// The states of a step.
const (
	StepStarted StepState = "Started"
	StepRunning StepState = "Running" // Message says something new
	StepDone    StepState = "Done"
	StepFailed  StepState = "Failed"
	StepWarning StepState = "Warning" // not a step: Message is advice
)

// Event is a change in one step of up or down. Steps run side by side.
type Event struct {
	Time    time.Time `json:"time"`
	Step    string    `json:"step"`
	State   StepState `json:"state"`
	Seconds float64   `json:"seconds,omitempty"` // how long it took, once Done or Failed
	Message string    `json:"message,omitempty"`
}

// Step is a finished step: where the time went.
type Step struct {
	Name    string  `json:"name"`
	Began   float64 `json:"began"`   // seconds after the command began
	Seconds float64 `json:"seconds"` // how long it took
}

// recorder turns the progress of steps into events and remembers how long each took.
type recorder struct {
	emit  func(Event)
	begin time.Time

	mu    sync.Mutex
	open  map[string]time.Time // when a step began; zero once it is over
	said  map[string]Event     // the last event of a step
	steps []Step
}

func newRecorder(emit func(Event)) *recorder {
	if emit == nil {
		emit = func(Event) {}
	}
	return &recorder{emit: emit, begin: time.Now(), open: map[string]time.Time{}, said: map[string]Event{}}
}

func (r *recorder) start(step string) { r.say(step, StepStarted, "") }
func (r *recorder) done(step, message string) {
	r.say(step, StepDone, message)
}

// say emits an event. A step that never started starts now; one that is over stays over.
func (r *recorder) say(step string, state StepState, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	e := Event{Time: now, Step: step, State: state, Message: message}
	if state == StepWarning {
		r.emit(e)
		return
	}
	began, ok := r.open[step]
	last := r.said[step]
	switch {
	case ok && began.IsZero(), ok && state == StepStarted, ok && last.State == state && last.Message == message:
		return
	case !ok:
		began = now
		r.open[step] = began
	}
	r.said[step] = e
	if state == StepDone || state == StepFailed {
		took := now.Sub(began)
		e.Seconds = took.Seconds()
		r.steps = append(r.steps, Step{Name: step, Began: began.Sub(r.begin).Seconds(), Seconds: took.Seconds()})
		r.open[step] = time.Time{}
	}
	r.emit(e)
}

// waitingFor returns what acquire calls with whoever holds the lock of a cluster.
func (r *recorder) waitingFor(cluster string) func(holder) {
	return func(who holder) {
		r.say(StepLock, StepWarning, fmt.Sprintf("process %d (%s) is working on cluster %s: waiting for it", who.PID, who.Command, cluster))
	}
}

// do runs f as a step.
func (r *recorder) do(step string, f func() (message string, err error)) error {
	r.start(step)
	message, err := f()
	if err != nil {
		r.say(step, StepFailed, err.Error())
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
		r.say(step, StepFailed, "")
	default:
		r.say(step, StepFailed, err.Error())
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
		r.say(step, StepFailed, "")
	}
}

func (r *recorder) finished() (steps []Step, total time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Step(nil), r.steps...), time.Since(r.begin)
}
