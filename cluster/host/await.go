package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
)

// watcher follows a control plane's status until the cluster is ready.
type watcher struct {
	up      *upRun
	running bool // it ran before, and may be ready at the first look
	names   []string
	last    cluster.Status
	seen    bool        // last holds a status
	crashes int         // of the control plane before the watch began
	tenths  int         // of the simulated nodes that have been reported ready
	giveUp  *time.Timer // runs while something hinders an existing cluster; nil otherwise
}

func newWatcher(u *upRun, running bool) *watcher {
	w := &watcher{up: u, running: running, names: u.spec.NodeNames()}
	if running {
		if s, _, err := cluster.ReadSupervision(u.layout); err == nil {
			w.crashes = s.Crashes.Count
		}
	}
	return w
}

// wait returns nil once everything is ready, else an error that names what is not ready, with the log that may explain it.
func (w *watcher) wait(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer w.noteHindrance(nil)
	var exited chan struct{} // nil, never closed, for a control plane that another process started
	if p := w.up.plane; p != nil {
		exited = p.exited
		go func() {
			select {
			case <-exited:
				cancel(errExited)
			case <-ctx.Done():
			}
		}()
	}
	client := cluster.NewClient(w.up.layout)
	defer client.Close()
	ready := false
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := client.Watch(ctx, func(s cluster.Status) bool {
			w.last, w.seen = s, true
			ready = w.note(s)
			w.noteHindrance(cancel)
			return !ready && s.Phase != cluster.PhaseFailed
		})
		switch {
		case ready:
			w.warn()
			return nil
		case errors.Is(context.Cause(ctx), errExited):
			return w.up.failure(errExited)
		case ctx.Err() != nil && w.serves(ctx):
			w.up.steps.fail()
			w.warn()
			return nil
		case ctx.Err() != nil:
			return cmp.Or(w.hindered(ctx), w.explain(context.Cause(ctx)))
		default: // the socket does not exist yet, or is gone
			if gone := w.gone(err); gone != nil {
				return gone
			}
		}
		select { // the socket does not exist yet; no event announces it
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// maxCrashesOfUp is how often a control plane may die while somebody waits for it: the first time may be bad luck, and the
// second run serves.
const maxCrashesOfUp = 1

// gone returns an error if the control plane, whose socket is closed, is not worth waiting for.
func (w *watcher) gone(err error) error {
	s, alive, rerr := cluster.ReadSupervision(w.up.layout)
	switch {
	case rerr != nil:
		return rerr
	case s.Crashes.Waiting != "":
		e := w.up.failure(errExited)
		e.Err, e.Hint = errors.New(s.Crashes.Waiting), "free some space on that disk"
		return e
	case s.Crashes.Count-w.crashes > maxCrashesOfUp:
		return w.up.failure(errExited)
	case w.up.plane != nil || alive: // it is started, for the first time or again
		return nil
	case w.running || w.seen:
		if pid, _ := ControlPlanePID(w.up.layout); pid == 0 {
			return w.up.failure(fmt.Errorf("it went away: %w", err))
		}
	}
	return nil
}

var errExited = errors.New("it exited")

// note turns a status into events and reports whether nothing is missing.
func (w *watcher) note(s cluster.Status) (ready bool) {
	steps := w.up.steps
	w.noteComponents(s)
	if s.Ready.API {
		w.finish(cluster.StepControlPlane)
		w.up.apiOnce.Do(func() { close(w.up.apiReady) })
	}
	if w.up.opts.NoWait {
		return s.Ready.API
	}
	ready = s.Ready.API && s.Phase != cluster.PhaseStarting // the scheduler may take longer than the rest
	nodes := map[string]cluster.NodeStatus{}
	for _, n := range s.Nodes {
		nodes[n.Name] = n
	}
	for _, name := range w.names {
		n := nodes[name]
		switch {
		case n.Connected && (n.Ready || n.Registered && w.ownCNI()):
			w.finish(name)
			continue
		case n.Registered:
			steps.say(name, cluster.StepRunning, "registered")
		case n.Connected:
			steps.say(name, cluster.StepRunning, "connected")
		}
		ready = false
	}
	if want := w.up.spec.SimulatedCount(); want > 0 {
		if tenth := s.Simulated.Ready * 10 / want; s.Simulated.Nodes >= want && tenth > w.tenths {
			w.tenths = tenth
			steps.say(cluster.StepSimulated, cluster.StepRunning, fmt.Sprintf("%d of %d ready", s.Simulated.Ready, want))
		}
		ready = w.noteFlag(cluster.StepSimulated, s.Simulated.Ready >= want, s.Ready.API) && ready
	}
	ready = w.noteFlag(cluster.StepAccount, s.Ready.DefaultServiceAccount, s.Ready.API) && ready
	if len(w.names) > 0 && !w.ownCNI() {
		ready = w.noteFlag(cluster.StepDNS, s.Ready.DNS, s.Ready.API) && ready
	}
	return ready
}

// ownCNI reports whether the user installs a pod network: until then nodes are not ready and DNS does not run.
func (w *watcher) ownCNI() bool { return w.up.spec.Networking.CNI == "none" }

// noteFlag turns one condition into a step that begins when it can.
func (w *watcher) noteFlag(step string, done, begun bool) bool {
	switch {
	case done:
		w.finish(step)
	case begun:
		w.up.steps.start(step)
	}
	return done
}

// finish ends a step, if it has begun.
func (w *watcher) finish(step string) {
	w.up.steps.mu.Lock()
	_, begun := w.up.steps.open[step]
	w.up.steps.mu.Unlock()
	if begun {
		w.up.steps.done(step, "")
	}
}

// noteComponents reports which components the control plane's step is waiting for.
func (w *watcher) noteComponents(s cluster.Status) {
	if s.Ready.API {
		return
	}
	var busy []string
	for _, c := range s.Components {
		if c.State != cluster.ComponentServing && c.State != cluster.ComponentWaiting {
			busy = append(busy, string(c.Name))
		}
	}
	if len(busy) > 0 && !w.running {
		w.up.steps.say(cluster.StepControlPlane, cluster.StepRunning, strings.Join(busy, ", "))
	}
}

// explain says what the cluster was still waiting for when the wait ended.
func (w *watcher) explain(cause error) error {
	l := w.up.layout
	if w.seen && w.last.Phase == cluster.PhaseFailed {
		return w.up.failure(errors.New(cmp.Or(w.last.Reason, "failed")))
	}
	if !w.seen {
		e := w.up.failure(fmt.Errorf("it never answered: %w", cause))
		e.Op = "wait for control plane"
		return e
	}
	if !w.last.Ready.API || w.last.Phase == cluster.PhaseStarting {
		for _, c := range w.last.Components {
			if c.State == cluster.ComponentServing || c.State == cluster.ComponentWaiting {
				continue
			}
			return &cluster.Error{
				Op: "wait for " + string(c.Name), Err: fmt.Errorf("%s: %w", strings.ToLower(string(c.State)), orError(c.Error, cause)),
				Hint: w.up.seeLog(cmp.Or(c.LogFile, l.LogFile(c.Name))),
				Log:  tail(cmp.Or(c.LogFile, l.LogFile(c.Name))),
			}
		}
	}
	if !w.last.Ready.API {
		return &cluster.Error{Op: "wait for the API", Err: cause, Log: tail(l.LogFile(cluster.KubeAPIServer))}
	}
	nodes := map[string]cluster.NodeStatus{}
	for _, n := range w.last.Nodes {
		nodes[n.Name] = n
	}
	for _, name := range w.names {
		if n := nodes[name]; !n.Connected || !n.Ready {
			return w.explainNode(name, n, cause)
		}
	}
	if !w.last.Ready.DefaultServiceAccount {
		return &cluster.Error{Op: "wait for the default service account", Err: cause, Log: tail(l.LogFile(cluster.KubeControllerManager))}
	}
	if want, have := w.up.spec.SimulatedCount(), w.last.Simulated; have.Ready < want {
		return &cluster.Error{
			Op: "wait for simulated nodes", Err: fmt.Errorf("%d of %d are there, %d ready: %w", have.Nodes, want, have.Ready, cause),
			Hint: "they are Ready once a Stage makes them so, or give it more time with --timeout; " + w.up.kept("'kl kubectl get stages' shows the stages"),
			Log:  tail(l.LogFile(cluster.ControlPlane)),
		}
	}
	return &cluster.Error{Op: "wait for cluster DNS", Err: cause, Hint: w.up.kept("the coredns pods of kube-system tell more")}
}

func (w *watcher) explainNode(name string, n cluster.NodeStatus, cause error) error {
	l, program := w.up.layout, "node"
	state := "it does not connect"
	switch {
	case n.Registered:
		state = "it is not ready"
	case n.Connected:
		state = "it does not register"
	}
	lines := tail(l.NodeLogFile(name, program))
	if lines == nil {
		program = "containerd"
		lines = tail(l.NodeLogFile(name, program))
	}
	if n.Reason != "" {
		state += ": " + n.Reason
	}
	return &cluster.Error{
		Op: "wait for node", Node: name, Err: fmt.Errorf("%s: %w", state, cause), Log: lines,
		Hint: w.up.seeLog(l.NodeLogFile(name, program)),
	}
}

func orError(text string, fallback error) error {
	if text != "" {
		return errors.New(text)
	}
	return fallback
}
