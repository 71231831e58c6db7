package policy

import "time"

// retry is a timer that waits twice as long each time, from a tenth of a second to half a minute.
type retry struct {
	timer *time.Timer
	wait  time.Duration
}

func newRetry() *retry {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &retry{timer: t}
}

// C fires when it is time to try again.
func (r *retry) C() <-chan time.Time { return r.timer.C }

// later sets the timer after a failure.
func (r *retry) later() {
	r.wait = min(max(2*r.wait, 100*time.Millisecond), 30*time.Second)
	r.timer.Reset(r.wait)
}

// done forgets past failures.
func (r *retry) done() {
	r.wait = 0
	r.timer.Stop()
}

func (r *retry) stop() { r.timer.Stop() }
