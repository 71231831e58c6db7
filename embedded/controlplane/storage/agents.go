package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/storage"
)

// agents finds the node that serves a volume.
type agents struct {
	nodes  Nodes
	client kubernetes.Interface
}

var (
	// errNoNode is returned for a node that does not exist. Its disk was deleted with it.
	errNoNode = errors.New("the node does not exist")
	// errSimulated is returned for a simulated node, which has no disk.
	errSimulated = errors.New("the node is simulated and has no disk")
	// errOff is returned for a node that is not connected.
	errOff = errors.New("the node is not connected; will be retried until it is")
)

// on returns the agent of a node, or one of the errors above.
func (a agents) on(ctx context.Context, name string) (storage.Agent, error) {
	if connected, _ := a.nodes.Watch(); slices.Contains(connected, name) {
		return storage.Agent{Node: name, Transport: a.nodes.AgentTransport(name)}, nil
	}
	n, err := a.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		err = errNoNode
	case err == nil && cluster.IsSimulated(n.Labels):
		err = errSimulated
	case err == nil:
		err = errOff
	}
	return storage.Agent{}, fmt.Errorf("node %s: %w", name, err)
}

// any calls f for connected nodes until it succeeds, or fails with an error that every node would return.
func (a agents) any(f func(storage.Agent) error) error {
	connected, _ := a.nodes.Watch()
	err := errors.New("no node is connected")
	for _, name := range connected {
		err = f(storage.Agent{Node: name, Transport: a.nodes.AgentTransport(name)})
		if err == nil || sameOnAll(err) {
			return err
		}
	}
	return err
}

// sameOnAll reports whether every node would return the error.
func sameOnAll(err error) bool {
	for _, e := range []error{
		storage.ErrInvalid, storage.ErrInUse, storage.ErrExists, storage.ErrCopying, storage.ErrNoSpace,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// of calls f for a node that serves the volume.
func (a agents) of(ctx context.Context, pv *corev1.PersistentVolume, f func(storage.Agent) error) error {
	return a.at(ctx, kindOf(pv), nodeOf(pv), f)
}

// at calls f for a node that has what is of that kind, and on that node if it is on one.
func (a agents) at(ctx context.Context, kind storage.Kind, node string, f func(storage.Agent) error) error {
	switch kind {
	case storage.Shared:
		return a.any(f)
	case storage.NodeLocal:
		agent, err := a.on(ctx, node)
		if err != nil {
			return err
		}
		return f(agent)
	default:
		return fmt.Errorf("volume attribute %s is %q, neither %q nor %q", storage.KindKey, kind, storage.NodeLocal, storage.Shared)
	}
}

func kindOf(pv *corev1.PersistentVolume) storage.Kind {
	if pv.Spec.CSI == nil {
		return ""
	}
	return storage.Kind(pv.Spec.CSI.VolumeAttributes[storage.KindKey])
}

// onNode returns the affinity of a volume that is on one node.
func onNode(name string) *corev1.VolumeNodeAffinity {
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: storage.TopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{name},
		}},
	}}}}
}

// nodeOf returns the node of a volume that is on one node, and otherwise an empty string.
func nodeOf(pv *corev1.PersistentVolume) string {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return ""
	}
	for _, term := range pv.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if e.Key == storage.TopologyKey && e.Operator == corev1.NodeSelectorOpIn && len(e.Values) == 1 {
				return e.Values[0]
			}
		}
	}
	return ""
}
