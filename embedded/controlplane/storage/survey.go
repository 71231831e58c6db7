package storage

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klkube/kl/embedded/node/storage"
)

const (
	surveyInterval = 10 * time.Second
	surveyTimeout  = 5 * time.Second // a node that takes longer is as good as off
	surveySoon     = 200 * time.Millisecond
)

// survey asks all nodes what room and which disks they have, when nodes or volumes come and go, and every surveyInterval.
type survey struct {
	nodes  Nodes
	client kubernetes.Interface
	log    *slog.Logger
	due    chan struct{} // holds one if a survey is wanted

	capacities *capacities
	disks      *disks
}

func newSurvey(o Options, client kubernetes.Interface, classes storagelisters.StorageClassLister, volumes coreinformers.PersistentVolumeInformer) *survey {
	s := &survey{
		nodes: o.Nodes, client: client, log: o.Logger, due: make(chan struct{}, 1),
		capacities: &capacities{client: client, classes: classes},
		disks:      &disks{client: client, volumes: volumes.Lister(), classes: classes, log: o.Logger},
	}
	_, err := volumes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, obj any) { s.note(obj) },
		DeleteFunc: s.note,
	})
	if err != nil {
		o.Logger.Error("watch volumes", "error", err) // an informer that has ended, before it was started
	}
	return s
}

// note asks for a survey if a disk's volume is to be emptied or has gone.
func (s *survey) note(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if pv, ok := obj.(*corev1.PersistentVolume); ok && pv.Labels[diskNodeLabel] != "" && pv.Status.Phase != corev1.VolumeBound {
		s.again()
	}
}

// again asks for a survey soon.
func (s *survey) again() {
	select {
	case s.due <- struct{}{}:
	default: // one is wanted already
	}
}

// run surveys until ctx is done.
func (s *survey) run(ctx context.Context) error {
	told := ""
	for {
		connected, changed := s.nodes.Watch()
		states := s.ask(ctx, connected)
		err := s.capacities.publish(ctx, states)
		if derr := s.disks.publish(ctx, states, s.agent); err == nil {
			err = derr
		}
		if err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			s.log.WarnContext(ctx, "cannot publish what nodes have, trying on", "error", err)
		}
		select {
		case <-changed:
		case <-time.After(surveyInterval):
		case <-s.due:
			select { // volumes come in groups
			case <-time.After(surveySoon):
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (s *survey) agent(node string) storage.Agent {
	return storage.Agent{Node: node, Transport: s.nodes.AgentTransport(node)}
}

// ask returns what the nodes answer, by name; those that do not are left out.
func (s *survey) ask(ctx context.Context, connected []string) map[string]storage.State {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	states := map[string]storage.State{}
	for _, node := range connected {
		wg.Go(func() {
			state, err := s.agent(node).State(ctx)
			if err != nil {
				s.log.DebugContext(ctx, "a node does not tell what it has", "node", node, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			states[node] = state
		})
	}
	wg.Wait()
	return states
}

// pvReclaims tells whether a volume's data is to be removed now.
func pvReclaims(pv *corev1.PersistentVolume) bool {
	return pv.Status.Phase == corev1.VolumeReleased && pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete
}
