package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klkube/kl/cluster/latest"
	"github.com/klkube/kl/embedded/node/storage"
)

const (
	surveyInterval = 10 * time.Second
	surveyTimeout  = 5 * time.Second        // a node that takes longer counts as off
	surveyDelay    = 200 * time.Millisecond // after a change, since volumes come in groups
)

// survey reads free space and disks of all nodes: when nodes connect or volumes change, and every surveyInterval.
type survey struct {
	nodes     Nodes
	client    kubernetes.Interface
	log       *slog.Logger
	requested *latest.Value[struct{}] // changes when a survey is requested

	capacities *capacities
	disks      *disks
}

func newSurvey(o Options, client kubernetes.Interface, classes storagelisters.StorageClassLister, volumes coreinformers.PersistentVolumeInformer) (*survey, error) {
	s := &survey{
		nodes: o.Nodes, client: client, log: o.Logger, requested: latest.New(struct{}{}),
		capacities: &capacities{client: client, classes: classes},
		disks:      &disks{client: client, volumes: volumes.Lister(), classes: classes, log: o.Logger},
	}
	_, err := volumes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, obj any) { s.onVolume(obj) },
		DeleteFunc: s.onVolume,
	})
	if err != nil {
		return nil, fmt.Errorf("watch volumes: %w", err)
	}
	return s, nil
}

// onVolume requests a survey if the volume of a disk was released or deleted.
func (s *survey) onVolume(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if pv, ok := obj.(*corev1.PersistentVolume); ok && pv.Labels[diskNodeLabel] != "" && pv.Status.Phase != corev1.VolumeBound {
		s.request()
	}
}

// request requests a survey soon. It does not block.
func (s *survey) request() { s.requested.Set(struct{}{}) }

// run surveys until ctx is done.
func (s *survey) run(ctx context.Context) error {
	logged := ""
	for {
		connected, changed := s.nodes.Watch()
		_, requested := s.requested.Get()
		states := s.ask(ctx, connected)
		err := errors.Join(s.capacities.publish(ctx, states), s.disks.publish(ctx, states, s.agent))
		if err != nil && ctx.Err() == nil && err.Error() != logged {
			logged = err.Error()
			s.log.WarnContext(ctx, "publish free space and disks", "error", err, "retry", surveyInterval)
		}
		select {
		case <-changed:
		case <-time.After(surveyInterval):
		case <-requested:
			select {
			case <-time.After(surveyDelay):
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

// ask returns the states of the nodes that answer, by name.
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
				s.log.DebugContext(ctx, "read state of node", "node", node, "error", err)
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

// pvReclaims reports whether the data of a volume is to be deleted now.
func pvReclaims(pv *corev1.PersistentVolume) bool {
	return pv.Status.Phase == corev1.VolumeReleased && pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete
}
