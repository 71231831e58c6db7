package storage

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	snapshotscheme "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/scheme"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions"
	common "github.com/kubernetes-csi/external-snapshotter/v8/pkg/common-controller"
	"github.com/kubernetes-csi/external-snapshotter/v8/pkg/metrics"
	sidecar "github.com/kubernetes-csi/external-snapshotter/v8/pkg/sidecar-controller"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/workqueue"

	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/node/storage"
)

// snapshotResync is how often upstream's controllers look at every snapshot again.
const snapshotResync = 15 * time.Minute

// snapshots runs upstream's snapshot controller, which binds VolumeSnapshots to VolumeSnapshotContents, and what is otherwise its sidecar
// beside a CSI driver, which has the snapshots made.
type snapshots struct {
	announce  func(context.Context) error // creates the definitions and the class; tried again until it succeeds
	informers snapshotinformers.SharedInformerFactory
	upstream  []interface {
		Run(workers int, stop <-chan struct{}, running *sync.WaitGroup)
	}
	log *slog.Logger
}

// newSnapshots registers types in client-go's scheme: see New.
func newSnapshots(client kubernetes.Interface, snapshotClient snapshotclient.Interface, claims coreinformers.PersistentVolumeClaimInformer,
	volumes coreinformers.PersistentVolumeInformer, s *nodeSnapshotter) (*snapshots, error) {
	if err := snapshotscheme.AddToScheme(scheme.Scheme); err != nil { // for events
		return nil, fmt.Errorf("register the types of snapshots: %w", err)
	}
	factory := snapshotinformers.NewSharedInformerFactoryWithOptions(snapshotClient, snapshotResync, snapshotinformers.WithTransform(trim))
	kinds, groups := factory.Snapshot().V1(), factory.Groupsnapshot().V1()
	retry := func() workqueue.TypedRateLimiter[string] {
		return workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)
	}
	const (
		ofNodes   = false // each node has a controller of its own
		keepMode  = true  // a restored volume has the volumeMode of the source
		ofGroups  = false
		wholeUID  = -1
		metadata  = true // pass the name of the VolumeSnapshot
		noHandler = "groupsnapshot"
	)
	all := &snapshots{informers: factory, log: s.log}
	all.upstream = append(all.upstream,
		common.NewCSISnapshotCommonController(snapshotClient, client, kinds.VolumeSnapshots(), kinds.VolumeSnapshotContents(), kinds.VolumeSnapshotClasses(),
			groups.VolumeGroupSnapshots(), groups.VolumeGroupSnapshotContents(), groups.VolumeGroupSnapshotClasses(), claims, volumes, nil,
			metrics.NewMetricsManager(), snapshotResync, retry(), retry(), retry(), retry(), ofNodes, keepMode, ofGroups),
		sidecar.NewCSISnapshotSideCarController(snapshotClient, client, storage.Driver, kinds.VolumeSnapshotContents(), kinds.VolumeSnapshotClasses(),
			s, nil, operationTimeout, snapshotResync, snapshotPrefix, wholeUID, noHandler, wholeUID, metadata, retry(), ofGroups,
			groups.VolumeGroupSnapshotContents(), groups.VolumeGroupSnapshotClasses(), retry()))
	return all, nil
}

// run works until ctx is done. Other informers that the controllers use run already.
func (s *snapshots) run(ctx context.Context) error {
	logged := ""
	err := await.Success(ctx, announceRetry, func(ctx context.Context) error {
		err := s.announce(ctx)
		if err != nil && err.Error() != logged {
			logged = err.Error()
			s.log.InfoContext(ctx, "wait for the API of snapshots", "error", err)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.informers.Start(ctx.Done())
	defer s.informers.Shutdown()
	group, ctx := errgroup.WithContext(ctx)
	for _, controller := range s.upstream {
		group.Go(func() error {
			var running sync.WaitGroup
			controller.Run(workers, ctx.Done(), &running)
			running.Wait()
			return ctx.Err()
		})
	}
	return group.Wait()
}

// announceSnapshots creates the API of snapshots and the class, and returns nil once the API serves both. What a user made or changed
// stays as it is.
func (c *Controller) announceSnapshots(ctx context.Context) error {
	admin, err := manifests.Client(c.Admin)
	if err != nil {
		return err
	}
	definitions, err := manifests.SnapshotDefinitions()
	if err != nil {
		return err
	}
	if err := c.yield(ctx, admin, definitions); err != nil {
		return err
	}
	one, api := metav1.ListOptions{Limit: 1}, c.snapshotClient.SnapshotV1()
	if _, err := api.VolumeSnapshots("").List(ctx, one); err != nil {
		return err
	}
	if _, err := api.VolumeSnapshotContents().List(ctx, one); err != nil {
		return err
	}
	if _, err := api.VolumeSnapshotClasses().List(ctx, one); err != nil {
		return err
	}
	class, err := objects().SnapshotClass()
	if err != nil {
		return err
	}
	return c.yield(ctx, admin, class)
}
