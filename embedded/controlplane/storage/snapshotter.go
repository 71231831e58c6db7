package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/kubernetes-csi/external-snapshotter/v8/pkg/snapshotter"
	"github.com/kubernetes-csi/external-snapshotter/v8/pkg/utils"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
	"github.com/klkube/kl/embedded/node/storage"
)

// snapshotPrefix begins the names of snapshots; the UID of the VolumeSnapshot follows.
const snapshotPrefix = "snapshot"

// nodeSnapshotter makes nodes create and delete snapshots, where upstream's controller would call a CSI driver.
type nodeSnapshotter struct {
	agents   agents
	volumes  corelisters.PersistentVolumeLister
	events   record.EventRecorder
	requests *cloudmetrics.Requests
	changed  func() // called when the free space of nodes has changed
	log      *slog.Logger
}

var _ snapshotter.Snapshotter = (*nodeSnapshotter)(nil)

// CreateSnapshot implements snapshotter.Snapshotter. Upstream calls it again until the snapshot is ready.
func (s *nodeSnapshotter) CreateSnapshot(ctx context.Context, name, volume string, parameters, _ map[string]string) (
	driver, id string, created time.Time, size int64, ready bool, err error) {
	defer func(end func(*error)) { end(&err) }(s.requests.Time("create_snapshot"))
	h, got, err := s.create(ctx, name, volume, parameters)
	if err != nil {
		return "", "", time.Time{}, 0, false, final(err)
	}
	if got.Ready {
		s.changed()
		s.warn(parameters, name, got)
		s.log.InfoContext(ctx, "created snapshot", "snapshot", h.String(), "volume", volume)
	}
	return storage.Driver, h.String(), got.Created, got.Size, got.Ready, nil
}

func (s *nodeSnapshotter) create(ctx context.Context, name, volume string, parameters map[string]string) (handle, storage.Snapshot, error) {
	for key := range parameters {
		if !strings.HasPrefix(key, "csi.storage.k8s.io/") {
			return handle{}, storage.Snapshot{}, fmt.Errorf("%w: the class has parameter %q, and there are none", errRefused, key)
		}
	}
	pv, err := s.volume(volume)
	if err != nil {
		return handle{}, storage.Snapshot{}, err
	}
	h := handle{kindOf(pv), nodeOf(pv), name}
	var got storage.Snapshot
	err = s.agents.at(ctx, h.kind, h.node, func(a storage.Agent) (err error) {
		got, err = a.PutSnapshot(ctx, h.kind, name, volume)
		return err
	})
	return h, got, err
}

// errRefused is returned for what will never succeed.
var errRefused = errors.New("refused")

// volume returns the PersistentVolume that the driver knows by that name.
func (s *nodeSnapshotter) volume(id string) (*corev1.PersistentVolume, error) {
	all, err := s.volumes.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	for _, pv := range all {
		if pv.Spec.CSI != nil && pv.Spec.CSI.Driver == storage.Driver && pv.Spec.CSI.VolumeHandle == id {
			return pv, nil
		}
	}
	return nil, fmt.Errorf("%w: there is no PersistentVolume of volume %s", errRefused, id)
}

// warn tells the VolumeSnapshot what pods wrote to while it was copied.
func (s *nodeSnapshotter) warn(parameters map[string]string, name string, got storage.Snapshot) {
	if len(got.Changed) == 0 {
		return
	}
	s.events.Event(&corev1.ObjectReference{
		APIVersion: "snapshot.storage.k8s.io/v1", Kind: "VolumeSnapshot", UID: types.UID(strings.TrimPrefix(name, snapshotPrefix+"-")),
		Namespace: parameters[utils.PrefixedVolumeSnapshotNamespaceKey], Name: parameters[utils.PrefixedVolumeSnapshotNameKey],
	}, corev1.EventTypeWarning, changedWhileCopied, mixed(got.Changed))
}

// changedWhileCopied is the reason of events about a copy that may not be of one moment.
const changedWhileCopied = "ChangedWhileCopied"

// mixed is the message of such an event.
func mixed(changed []string) string {
	return fmt.Sprintf("pods wrote to %s all the time while the volume was copied: there may be both old and new data in it", strings.Join(changed, ", "))
}

// DeleteSnapshot implements snapshotter.Snapshotter. The snapshot of a node that was removed was deleted with it.
func (s *nodeSnapshotter) DeleteSnapshot(ctx context.Context, id string, _ map[string]string) (err error) {
	defer func(end func(*error)) { end(&err) }(s.requests.Time("delete_snapshot"))
	h, err := parseHandle(id)
	if err != nil {
		s.log.WarnContext(ctx, "delete nothing for a VolumeSnapshotContent", "error", err)
		return nil // there is no such snapshot
	}
	err = s.agents.at(ctx, h.kind, h.node, func(a storage.Agent) error { return a.DeleteSnapshot(ctx, h.kind, h.id) })
	if errors.Is(err, errNoNode) {
		err = nil
	}
	if err == nil {
		s.changed()
		s.log.InfoContext(ctx, "deleted snapshot", "snapshot", id)
	}
	return err
}

// GetSnapshotStatus implements snapshotter.Snapshotter, for snapshots that a VolumeSnapshotContent made by hand names.
func (s *nodeSnapshotter) GetSnapshotStatus(ctx context.Context, id string, _ map[string]string) (ready bool, created time.Time, size int64, group string, err error) {
	h, err := parseHandle(id)
	if err != nil {
		return false, time.Time{}, 0, "", err
	}
	var list []storage.Snapshot
	err = s.agents.at(ctx, h.kind, h.node, func(a storage.Agent) (err error) { list, err = a.Snapshots(ctx, h.kind); return err })
	if err != nil {
		return false, time.Time{}, 0, "", err
	}
	for _, got := range list {
		if got.ID == h.id {
			return got.Ready, got.Created, got.Size, "", nil
		}
	}
	return false, time.Time{}, 0, "", fmt.Errorf("%w: snapshot %s", storage.ErrGone, id)
}

// final gives an error the code by which upstream's controller knows whether a node may still be making the snapshot: as long as one may,
// the VolumeSnapshot cannot be deleted.
func final(err error) error {
	var refused *storage.AgentError
	if errors.As(err, &refused) || errors.Is(err, errRefused) || errors.Is(err, errNoNode) || errors.Is(err, errSimulated) {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return status.Error(codes.Unavailable, err.Error())
}
