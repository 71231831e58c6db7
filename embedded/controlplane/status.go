package controlplane

import (
	"reflect"
	"slices"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
)

// planeStatus is the status that the status socket serves and that components watch.
type planeStatus struct{ *latest.Value[cluster.Status] }

func newStatus(s cluster.Status) planeStatus { return planeStatus{latest.New(s)} }

// edit changes the status. f must replace the slices it finds, not modify them: readers hold them.
func (p planeStatus) edit(f func(*cluster.Status)) {
	p.Update(func(s cluster.Status) (cluster.Status, bool) {
		next := s
		f(&next)
		next.Phase, next.Reason = phase(next)
		return next, !reflect.DeepEqual(next, s)
	})
}

// phase derives the plane's phase from its components. Stopping, Stopped and Failed are set by the plane and stay.
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
	if len(s.Components) == 0 || !s.Ready.API { // until then a user may be refused what is his: see observer.awaitAPI
		return cluster.PhaseStarting, ""
	}
	return cluster.PhaseReady, ""
}

// reportComponent returns the function that the supervisor calls with changes of components. They are listed in the order
// of their first report.
func (p planeStatus) reportComponent(l cluster.Layout) func(cluster.ComponentStatus) {
	return func(c cluster.ComponentStatus) {
		switch c.Name {
		case cluster.Etcd, cluster.KubeAPIServer, cluster.KubeControllerManager, cluster.KubeScheduler:
			c.LogFile = l.LogFile(c.Name)
		default:
			c.LogFile = l.LogFile(cluster.ControlPlane)
		}
		p.edit(func(s *cluster.Status) {
			s.Components = slices.Clone(s.Components)
			i := slices.IndexFunc(s.Components, func(o cluster.ComponentStatus) bool { return o.Name == c.Name })
			if i < 0 {
				s.Components = append(s.Components, c)
				return
			}
			s.Components[i] = c
		})
	}
}
