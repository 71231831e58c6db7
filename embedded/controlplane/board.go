package controlplane

import (
	"reflect"
	"slices"
	"sync"

	"github.com/klkube/kl/cluster"
)

// board holds the current status and tells when it changed. Readers skip states, none blocks, the last is never lost.
type board struct {
	mu      sync.Mutex
	status  cluster.Status
	changed chan struct{} // closed at the next change
}

func newBoard(s cluster.Status) *board { return &board{status: s, changed: make(chan struct{})} }

// read returns the current status and a channel that is closed when it is no longer current.
func (b *board) read() (cluster.Status, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status, b.changed
}

// update edits the status. edit must not keep or change the slices it finds: it replaces them.
func (b *board) update(edit func(*cluster.Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.status
	edit(&next)
	next.Phase, next.Reason = phase(next)
	if reflect.DeepEqual(next, b.status) {
		return
	}
	b.status = next
	close(b.changed)
	b.changed = make(chan struct{})
}

// phase sums the components up. Stopping and what follows is set by the plane and never left again.
func phase(s cluster.Status) (cluster.Phase, string) {
	switch s.Phase {
	case cluster.PhaseStopping, cluster.PhaseStopped, cluster.PhaseFailed:
		return s.Phase, s.Reason
	}
	for _, c := range s.Components {
		if c.State != cluster.ComponentServing {
			if s.Phase == cluster.PhaseReady || s.Phase == cluster.PhaseDegraded {
				return cluster.PhaseDegraded, string(c.Name) + ": " + c.Error
			}
			return cluster.PhaseStarting, ""
		}
	}
	if len(s.Components) == 0 {
		return cluster.PhaseStarting, ""
	}
	return cluster.PhaseReady, ""
}

// component returns the function that the supervisor reports to. Components appear in the order of their first report.
func (b *board) component(l cluster.Layout) func(cluster.ComponentStatus) {
	return func(c cluster.ComponentStatus) {
		switch c.Name {
		case cluster.Etcd, cluster.KubeAPIServer, cluster.KubeControllerManager, cluster.KubeScheduler:
			c.LogFile = l.LogFile(c.Name)
		default:
			c.LogFile = l.LogFile(cluster.ControlPlane)
		}
		b.update(func(s *cluster.Status) {
			i := slices.IndexFunc(s.Components, func(o cluster.ComponentStatus) bool { return o.Name == c.Name })
			if i < 0 {
				s.Components = append(slices.Clone(s.Components), c)
				return
			}
			s.Components = slices.Clone(s.Components)
			s.Components[i] = c
		})
	}
}
