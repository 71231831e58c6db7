package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	provision "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller/metrics"

	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
	"github.com/klkube/kl/embedded/node/storage"
)

const (
	firstRetry = 200 * time.Millisecond // upstream's 15 s is meant for clouds
	lastRetry  = 15 * time.Second       // the longest wait for a node that is back
	// operationTimeout is how long creating or deleting a volume may take. Deleting removes every file.
	operationTimeout = time.Minute
	workers          = 4
)

// newProvisioner returns upstream's controller with p as its provisioner.
func newProvisioner(ctx context.Context, client kubernetes.Interface, p *provisioner, collect func(...prometheus.Collector),
	claims cache.SharedIndexInformer, volumes, classes cache.SharedInformer) *provision.ProvisionController {
	m := metrics.New("controller")
	if collect != nil {
		collect(m.PersistentVolumeClaimProvisionTotal, m.PersistentVolumeClaimProvisionFailedTotal,
			m.PersistentVolumeClaimProvisionDurationSeconds, m.PersistentVolumeDeleteTotal,
			m.PersistentVolumeDeleteFailedTotal, m.PersistentVolumeDeleteDurationSeconds)
	}
	retry := func() workqueue.TypedRateLimiter[string] {
		return workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)
	}
	return provision.NewProvisionController(ctx, client, storage.Driver, p,
		provision.ClaimsInformer(claims), provision.VolumesInformer(volumes), provision.ClassesInformer(classes),
		provision.LeaderElection(false), provision.AddFinalizer(true), provision.MetricsInstance(m), provision.Threadiness(workers),
		provision.RateLimiter(retry()), provision.CreateProvisionedPVLimiter(retry()),
		provision.FailedProvisionThreshold(0), provision.FailedDeleteThreshold(0), // retry for ever
		provision.ProvisionTimeout(operationTimeout), provision.DeletionTimeout(operationTimeout))
}

// provisioner makes nodes create and delete volumes.
type provisioner struct {
	agents   agents
	sources  sources
	events   record.EventRecorder
	requests *cloudmetrics.Requests
	changed  func() // called when the free space of nodes has changed
	log      *slog.Logger
}

var (
	_ provision.Provisioner      = (*provisioner)(nil)
	_ provision.BlockProvisioner = (*provisioner)(nil)
)

// SupportsBlock implements provision.BlockProvisioner. A node that cannot attach devices says so when it creates a volume.
func (p *provisioner) SupportsBlock(context.Context) bool { return true }

// Provision implements provision.Provisioner. Upstream reports an error in an event of the claim.
func (p *provisioner) Provision(ctx context.Context, o provision.ProvisionOptions) (_ *corev1.PersistentVolume, state provision.ProvisioningState, err error) {
	defer func(end func(*error)) { end(&err) }(p.requests.Time("create_volume"))
	kind, mode, err := check(o)
	if err != nil {
		return nil, provision.ProvisioningFinished, err
	}
	from, err := p.sources.of(ctx, o.PVC)
	if err != nil {
		return nil, provision.ProvisioningFinished, err
	}
	size := o.PVC.Spec.Resources.Requests[corev1.ResourceStorage]
	want := storage.Volume{Kind: kind, ID: o.PVName, Size: size.Value(), Mode: mode, Block: isBlock(o.PVC.Spec.VolumeMode)}
	node := ""
	if kind == storage.NodeLocal {
		node = o.SelectedNodeName
	}
	if from != nil {
		want.Source = &from.Source
		if node != "" && from.node != "" && from.node != node { // the scheduler chose before the assigner did
			return nil, provision.ProvisioningReschedule, fmt.Errorf("%s is on node %s", from.name, from.node)
		}
	}
	pv := newPV(o, want)
	if node != "" {
		pv.Spec.NodeAffinity = onNode(node)
	}
	made, state, err := p.make(ctx, want, node, from)
	if err != nil {
		return nil, state, err
	}
	pv.Annotations[storage.LimitKey] = made.Limit.String()
	if !made.Limit.Enforced {
		p.events.Eventf(o.PVC, corev1.EventTypeNormal, "SizeNotEnforced", "more than %s can be written: %s", size.String(), made.Limit.Reason)
	}
	if len(made.Changed) > 0 {
		p.events.Event(o.PVC, corev1.EventTypeWarning, changedWhileCopied, mixed(made.Changed))
	}
	p.changed()
	p.log.InfoContext(ctx, "created volume", "volume", o.PVName, "kind", kind, "node", o.SelectedNodeName, "size", size.String())
	return pv, provision.ProvisioningFinished, nil
}

// make has a volume made: on a node if it is on one, on the node that has its data, or on any.
func (p *provisioner) make(ctx context.Context, want storage.Volume, node string, from *source) (made storage.Volume, _ provision.ProvisioningState, err error) {
	put := func(a storage.Agent) (err error) { made, err = a.Put(ctx, want); return err }
	if node == "" && (from == nil || from.node == "") {
		err := p.agents.any(put)
		return made, unlessRefused(err), err
	}
	by := node
	if by == "" {
		by = from.node
	}
	agent, err := p.agents.on(ctx, by)
	if err != nil && node != "" && from == nil { // the node has done nothing: the scheduler may choose another
		return made, provision.ProvisioningReschedule, err
	}
	if err != nil {
		return made, provision.ProvisioningFinished, err
	}
	err = put(agent)
	return made, unlessRefused(err), err
}

// unlessRefused returns the state after an error. A node that refused has done nothing; otherwise it may still be at work.
func unlessRefused(err error) provision.ProvisioningState {
	var refused *storage.AgentError
	if err == nil || errors.As(err, &refused) && !errors.Is(err, storage.ErrCopying) {
		return provision.ProvisioningFinished
	}
	return provision.ProvisioningInBackground
}

// check returns the kind of the claim's volume and its permissions, or what is wrong with the claim or its class.
func check(o provision.ProvisionOptions) (storage.Kind, fs.FileMode, error) {
	spec, class := o.PVC.Spec, o.StorageClass.Name
	kind := storage.Kind(o.StorageClass.Parameters[storage.KindKey])
	for name := range o.StorageClass.Parameters {
		if name != storage.KindKey && name != storage.ModeKey {
			return "", 0, fmt.Errorf("class %s: parameter %q is not known; there are %s: local or shared, and %s: 0777 or less",
				class, name, storage.KindKey, storage.ModeKey)
		}
	}
	mode, err := storage.ParseMode(o.StorageClass.Parameters[storage.ModeKey])
	if err != nil {
		return "", 0, fmt.Errorf("class %s: %w", class, err)
	}
	if spec.Selector != nil {
		return "", 0, fmt.Errorf("class %s makes volumes, it does not select them: remove the claim's selector", class)
	}
	if isBlock(spec.VolumeMode) && slices.Contains(spec.AccessModes, corev1.ReadOnlyMany) {
		return "", 0, errors.New(storage.BlockReadOnly)
	}
	switch kind {
	case storage.Shared:
		return kind, mode, nil
	case storage.NodeLocal:
		for _, mode := range spec.AccessModes {
			if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
				return "", 0, fmt.Errorf("class %s is on one node and cannot be %s: use class %s", class, mode, storage.SharedClass)
			}
		}
		if o.SelectedNodeName == "" {
			return "", 0, fmt.Errorf("class %s is on one node, which a pod chooses: it needs volumeBindingMode WaitForFirstConsumer", class)
		}
		return kind, mode, nil
	}
	return "", 0, fmt.Errorf("class %s: parameter %s is %q, neither local nor shared", class, storage.KindKey, kind)
}

func isBlock(mode *corev1.PersistentVolumeMode) bool {
	return mode != nil && *mode == corev1.PersistentVolumeBlock
}

// newPV returns the PersistentVolume for a claim, without what depends on the node.
func newPV(o provision.ProvisionOptions, v storage.Volume) *corev1.PersistentVolume {
	reclaim, mode := corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeFilesystem
	if v.Block {
		mode = corev1.PersistentVolumeBlock
	}
	if o.StorageClass.ReclaimPolicy != nil {
		reclaim = *o.StorageClass.ReclaimPolicy
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName, Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: o.PVC.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes:                   slices.Clone(o.PVC.Spec.AccessModes),
			PersistentVolumeReclaimPolicy: reclaim, VolumeMode: &mode, MountOptions: o.StorageClass.MountOptions,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: storage.Driver, VolumeHandle: v.ID, VolumeAttributes: map[string]string{storage.KindKey: string(v.Kind)},
			}},
		},
	}
}

// Delete implements provision.Provisioner. The volume of a node that was removed was deleted with it.
func (p *provisioner) Delete(ctx context.Context, pv *corev1.PersistentVolume) (err error) {
	defer func(end func(*error)) { end(&err) }(p.requests.Time("delete_volume"))
	err = p.agents.of(ctx, pv, func(a storage.Agent) error { return a.Delete(ctx, kindOf(pv), pv.Spec.CSI.VolumeHandle) })
	if errors.Is(err, errNoNode) {
		err = nil
	}
	if err == nil {
		p.changed()
		p.log.InfoContext(ctx, "deleted volume", "volume", pv.Name, "kind", kindOf(pv), "node", nodeOf(pv))
	}
	return err
}
