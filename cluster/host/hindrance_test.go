package host

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klkube/kl/cluster"
)

// TestGiveUp tells a watcher what hinders a cluster, and looks when and how its wait ends.
func TestGiveUp(t *testing.T) {
	webhook := cluster.ComponentStatus{Name: "bootstrap", State: cluster.ComponentServing, Error: `failed calling webhook "w.test"`}
	metrics := cluster.ComponentStatus{Name: "metrics-server", State: cluster.ComponentServing, Error: "w.test: somebody else's"}
	serving := func(components ...cluster.ComponentStatus) cluster.Status {
		return cluster.Status{Ready: cluster.Readiness{API: true}, Components: components}
	}
	for _, tt := range []struct {
		name   string
		up     *upRun
		says   []cluster.Status // one a second
		ends   error
		serves bool
	}{
		{"a webhook", &upRun{}, []cluster.Status{serving(webhook)}, errHindered, true},
		{"a webhook that is gone in time", &upRun{}, []cluster.Status{serving(webhook), serving()}, context.DeadlineExceeded, true},
		{"what nothing waits for", &upRun{}, []cluster.Status{serving(metrics)}, context.DeadlineExceeded, true},
		{"a new cluster", &upRun{fresh: true}, []cluster.Status{serving(webhook)}, context.DeadlineExceeded, false},
		{"a new configuration", &upRun{tries: true}, []cluster.Status{serving(webhook)}, errHindered, false},
		{"a new node", &upRun{spec: cluster.Spec{Nodes: []cluster.NodeGroup{{Count: 1}}}}, []cluster.Status{serving(webhook)}, errHindered, false},
		{"what a file says and the cluster has", &upRun{replace: true}, []cluster.Status{serving(webhook)}, errHindered, true},
		{"no API", &upRun{}, []cluster.Status{{Components: []cluster.ComponentStatus{webhook}}}, context.DeadlineExceeded, false},
		{"nothing known", &upRun{}, []cluster.Status{serving()}, context.DeadlineExceeded, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limited, stop := context.WithTimeout(t.Context(), DefaultTimeout)
				defer stop()
				ctx, cancel := context.WithCancelCause(limited)
				defer cancel(nil)
				tt.up.steps = newRecorder(nil)
				w := newWatcher(tt.up, false)
				defer w.noteHindrance(nil)
				for _, s := range tt.says {
					w.last, w.seen = s, true
					w.noteHindrance(cancel)
					time.Sleep(time.Second)
				}
				<-ctx.Done()
				if got := context.Cause(ctx); !errors.Is(got, tt.ends) || w.serves(ctx) != tt.serves {
					t.Errorf("the wait ends with %v, serves is %t", got, w.serves(ctx))
				}
				w.warn()
				if text := strings.Join(w.up.warnings, "; "); strings.Contains(text, "w.test") != (len(hindrances(w.last)) > 0) {
					t.Errorf("warnings are %q", text)
				}
			})
		})
	}
}

// What is said about DNS that does not answer is said no more once it does, even if the reason has not been taken back yet.
func TestHindrancesOfDNS(t *testing.T) {
	s := cluster.Status{Components: []cluster.ComponentStatus{
		{Name: "observer", State: cluster.ComponentServing, Error: "cluster DNS does not answer: no node has room"},
		{Name: "bootstrap", State: cluster.ComponentServing, Error: "a webhook refuses"},
	}}
	if list := hindrances(s); len(list) != 2 {
		t.Errorf("without DNS: %q", list)
	}
	s.Ready.DNS = true
	if list := hindrances(s); len(list) != 1 || list[0] != "bootstrap: a webhook refuses" {
		t.Errorf("with DNS: %q", list)
	}
}
