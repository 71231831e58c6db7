package host

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/klkube/kl/cluster"
)

// recorder turns the progress of steps into events and remembers how long each took.
type recorder struct {
	emit  func(cluster.Event)
	begin time.Time

	mu    sync.Mutex
	open  map[string]time.Time     // when a step began; zero once it has ended
	said  map[string]cluster.Event // the last event of a step
	steps []cluster.Step

	events []cluster.Event // all but warnings and notes
}

func newRecorder(emit func(cluster.Event)) *recorder {
	if emit == nil {
		emit = func(cluster.Event) {}
	}
	return &recorder{emit: emit, begin: time.Now(), open: map[string]time.Time{}, said: map[string]cluster.Event{}}
}

func (r *recorder) start(step string)         { r.say(step, cluster.StepStarted, "") }
func (r *recorder) done(step, message string) { r.say(step, cluster.StepDone, message) }

// say emits an event. A step that has not started starts now; events of one that has ended are dropped.
func (r *recorder) say(step string, state cluster.StepState, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	e := cluster.Event{Time: now, Step: step, State: state, Message: message}
	if state == cluster.StepWarning || state == cluster.StepNote {
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
	r.events = append(r.events, e)
	if state == cluster.StepDone || state == cluster.StepFailed {
		took := now.Sub(began)
		e.Seconds = took.Seconds()
		r.steps = append(r.steps, cluster.Step{Name: step, Began: began.Sub(r.begin).Seconds(), Seconds: took.Seconds()})
		r.open[step] = time.Time{}
	}
	r.emit(e)
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

// within is do for one of several steps that share ctx: if the step fails because ctx ended, its event carries no reason.
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

// fail ends every step that is still open. The reason is in the error that the verb returns.
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

// history returns the events of steps so far.
func (r *recorder) history() []cluster.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *recorder) finished() (steps []cluster.Step, total time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]cluster.Step(nil), r.steps...), time.Since(r.begin)
}
