package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
)

// hindrancePatience is how long start waits for the rest of an existing cluster once something hinders it: the control
// plane waits for a user to mend that, and nobody can before start returns.
const hindrancePatience = 20 * time.Second

// statusTimeout bounds one look at the status.
const statusTimeout = 2 * time.Second

var errHindered = errors.New("something that is in the API hinders the cluster")

// hindrances says what keeps parts of a cluster from working although its API serves: what components report that try
// again and again, such as a webhook that refuses their writes, or a Corefile with a mistake.
func hindrances(s cluster.Status) []string {
	var list []string
	for _, c := range s.Components {
		if c.Name == "observer" && s.Ready.DNS { // it takes back why DNS does not answer a moment after that does
			continue
		}
		if c.Error != "" && (c.State == cluster.ComponentServing || c.State == cluster.ComponentRestarting) {
			list = append(list, fmt.Sprintf("%s: %s", c.Name, strings.ReplaceAll(c.Error, "\n", " ")))
		}
	}
	return list
}

// noteHindrance ends the wait with errHindered when something has hindered the cluster for hindrancePatience. A nil cancel
// stops the clock.
func (w *watcher) noteHindrance(cancel context.CancelCauseFunc) {
	// Nothing that start waits for needs metrics.
	waited := slices.DeleteFunc(hindrances(w.last), func(text string) bool { return strings.HasPrefix(text, "metrics-server:") })
	hindered := cancel != nil && w.existed() && len(waited) > 0
	switch {
	case hindered && w.giveUp == nil:
		w.giveUp = time.AfterFunc(hindrancePatience, func() { cancel(errHindered) })
	case !hindered && w.giveUp != nil:
		w.giveUp.Stop()
		w.giveUp = nil
	}
}

// serves reports whether a wait that gave up leaves a cluster whose API serves: it stays on then, since only with the API
// can a user mend what hinders the rest. A Ctrl-C is no such end, nor is the failure of another part of this run.
func (w *watcher) serves(ctx context.Context) bool {
	return gaveUp(ctx) && w.mayServe()
}

// gaveUp reports whether a wait has ended by itself.
func gaveUp(ctx context.Context) bool {
	return errors.Is(context.Cause(ctx), errHindered) || errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// existed reports whether the cluster was made before, and its API serves.
func (w *watcher) existed() bool { return !w.up.fresh && w.seen && w.last.Ready.API }

// mayServe reports whether the cluster may stay on although parts of it are not ready: it existed before, and is only
// started. A new cluster, new nodes and a new configuration either work or are taken back.
func (w *watcher) mayServe() bool {
	grows := w.up.spec.NodeCount() > w.up.before.NodeCount()
	return w.existed() && !w.up.tries && !grows
}

// hindered is the error of a wait that gave up on a cluster that something hinders; nil if nothing does.
func (w *watcher) hindered(ctx context.Context) error {
	list := hindrances(w.last)
	if !gaveUp(ctx) || !w.existed() || len(list) == 0 {
		return nil
	}
	return &cluster.Error{Op: "wait for cluster " + w.up.spec.Name, Err: fmt.Errorf("%w: %s", errHindered, strings.Join(list, "; "))}
}

// isHindered reports whether something hinders a cluster whose control plane runs.
func isHindered(ctx context.Context, l cluster.Layout) bool {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	client := cluster.NewClient(l)
	defer client.Close()
	s, err := client.Status(ctx)
	return err == nil && len(hindrances(s)) > 0
}

// warn says what hinders the cluster and what of it is not ready.
func (w *watcher) warn() {
	say := func(step, text string) {
		w.up.warnings = append(w.up.warnings, text)
		w.up.steps.say(step, cluster.StepWarning, text)
	}
	list := hindrances(w.last)
	for _, text := range list {
		if strings.Contains(text, "webhook") {
			text += "; 'kl kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations' lists webhooks"
		}
		say(cluster.StepControlPlane, text)
	}
	if w.up.opts.NoWait {
		return
	}
	nodes := map[string]cluster.NodeStatus{}
	for _, n := range w.last.Nodes {
		nodes[n.Name] = n
	}
	for _, name := range w.names {
		n := nodes[name]
		switch ready := n.Connected && (n.Ready || n.Registered && w.ownCNI()); {
		case ready:
		case n.Reason != "":
			say(name, fmt.Sprintf("node %s is not ready: %s", name, n.Reason))
		default:
			say(name, fmt.Sprintf("node %s is not ready", name))
		}
	}
	if want, have := w.up.spec.SimulatedCount(), w.last.Simulated.Ready; have < want {
		say(cluster.StepSimulated, fmt.Sprintf("%d of %d simulated nodes are ready", have, want))
	}
	if !w.last.Ready.DefaultServiceAccount {
		say(cluster.StepAccount, "the default service account does not exist: no pod can be made in namespace default")
	}
	if len(list) == 0 && len(w.names) > 0 && !w.ownCNI() && !w.last.Ready.DNS {
		say(cluster.StepDNS, "cluster DNS does not answer: 'kl kubectl -n kube-system get pods -l k8s-app=kube-dns' tells more")
	}
}
