package storage

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"

	"github.com/klkube/kl/embedded/node/storage"
)

// bound returns a claim with a volume of 1 GiB, and the volume, on a node or shared.
func bound(name, node string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	c := claim("standard", corev1.ReadWriteOnce)
	c.Name, c.UID, c.Spec.VolumeName, c.Status.Phase = name, "uid-of-"+c.UID, "pv-"+name, corev1.ClaimBound
	pv := released(node)
	pv.Name, pv.Spec.CSI.VolumeHandle, pv.Status.Phase = "pv-"+name, "pv-"+name, corev1.VolumeBound
	pv.Spec.ClaimRef = &corev1.ObjectReference{Namespace: c.Namespace, Name: name, UID: c.UID}
	if node == "" {
		pv.Spec.NodeAffinity, pv.Spec.CSI.VolumeAttributes = nil, map[string]string{storage.KindKey: "shared"}
	}
	return c, pv
}

func pointer[T any](v T) *T { return &v }

// readySnapshot returns a snapshot of 1 GiB and its content.
func readySnapshot(name, handle string) (*snapshotv1.VolumeSnapshot, *snapshotv1.VolumeSnapshotContent) {
	at := metav1.ObjectMeta{Name: name, Namespace: "default", UID: "uid-" + "s"}
	s := &snapshotv1.VolumeSnapshot{ObjectMeta: at, Spec: snapshotv1.VolumeSnapshotSpec{
		Source: snapshotv1.VolumeSnapshotSource{VolumeSnapshotContentName: pointer("content")},
	}, Status: &snapshotv1.VolumeSnapshotStatus{
		ReadyToUse: pointer(true), BoundVolumeSnapshotContentName: pointer("content"), RestoreSize: resource.NewQuantity(1<<30, resource.BinarySI),
		CreationTime: &metav1.Time{Time: time.Unix(1e9, 0)},
	}}
	c := &snapshotv1.VolumeSnapshotContent{ObjectMeta: metav1.ObjectMeta{Name: "content"}, Spec: snapshotv1.VolumeSnapshotContentSpec{
		Driver: storage.Driver, DeletionPolicy: snapshotv1.VolumeSnapshotContentDelete,
		VolumeSnapshotRef: corev1.ObjectReference{Namespace: at.Namespace, Name: name, UID: at.UID},
		Source:            snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: &handle},
	}, Status: &snapshotv1.VolumeSnapshotContentStatus{
		SnapshotHandle: &handle, RestoreSize: pointer(int64(1 << 30)), ReadyToUse: pointer(true), CreationTime: pointer(int64(1e18)),
	}}
	return s, c
}

func from(c *corev1.PersistentVolumeClaim, kind, name string) *corev1.PersistentVolumeClaim {
	c.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: kind, Name: name}
	if kind == "VolumeSnapshot" {
		c.Spec.DataSource.APIGroup = pointer(snapshotv1.GroupName)
	}
	return c
}

func TestHandles(t *testing.T) {
	for text, want := range map[string]handle{
		"shared/snapshot-1":   {storage.Shared, "", "snapshot-1"},
		"local/n1/snapshot-1": {storage.NodeLocal, "n1", "snapshot-1"},
		"":                    {}, "shared": {}, "shared/": {}, "shared/n1/a": {}, "local/a": {}, "local//a": {}, "local/n1/../a": {}, "shared/.deleted-a": {}, "other/a": {},
	} {
		got, err := parseHandle(text)
		if got != want || (err == nil) != (want != handle{}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if err == nil && got.String() != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestSnapshotter(t *testing.T) {
	_, local := bound("local", "n1")
	_, shared := bound("shared", "")
	_, off := bound("off", "off")
	_, removed := bound("removed", "gone")
	s := start(t, newFakeNodes("n1"), local, shared, off, removed)
	events := record.NewFakeRecorder(10)
	maker := &nodeSnapshotter{
		agents: agents{nodes: s.nodes, client: s.api}, volumes: s.informers.Core().V1().PersistentVolumes().Lister(),
		events: events, changed: func() {}, log: s.Logger,
	}
	eventually(t, "all volumes in the cache", func() bool { _, err := maker.volume("pv-removed"); return err == nil })
	for name, test := range map[string]struct {
		volume     string
		parameters map[string]string
		refuse     error
		code       codes.Code
		says       string
	}{
		"not connected": {volume: "pv-off", code: codes.Unavailable, says: "node off: the node is not connected"},
		"removed":       {volume: "pv-removed", code: codes.FailedPrecondition, says: "node gone: the node does not exist"},
		"no volume":     {volume: "other", code: codes.FailedPrecondition, says: "no PersistentVolume of volume other"},
		"full":          {volume: "pv-local", refuse: storage.ErrNoSpace, code: codes.FailedPrecondition, says: "node n1: no space left"},
		"parameter":     {volume: "pv-local", parameters: map[string]string{"speed": "9"}, code: codes.FailedPrecondition, says: `parameter "speed"`},
	} {
		s.nodes.set(func() { s.nodes.refuse = test.refuse })
		_, _, _, _, _, err := maker.CreateSnapshot(t.Context(), "snapshot-1", test.volume, test.parameters, nil)
		if status.Code(err) != test.code || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		s.nodes.set(func() { s.nodes.refuse = nil })
	}
	s.nodes.set(func() { s.nodes.changing = []string{"db/log"} })
	for volume, want := range map[string]string{"pv-local": "local/n1/snapshot-1", "pv-shared": "shared/snapshot-1"} {
		for _, ready := range []bool{false, true} { // the copy takes until the second time
			_, id, _, _, got, err := maker.CreateSnapshot(t.Context(), "snapshot-1", volume, nil, nil)
			if err != nil || id != want || got != ready {
				t.Errorf("snapshot of %s: %s, ready %v, %v", volume, id, got, err)
			}
		}
		select {
		case e := <-events.Events:
			if !strings.HasPrefix(e, "Warning ChangedWhileCopied pods wrote to db/log ") {
				t.Errorf("event %q", e)
			}
		default:
			t.Errorf("snapshot of %s: no event about what changed", volume)
		}
		ready, created, size, _, err := maker.GetSnapshotStatus(t.Context(), want, nil)
		if err != nil || !ready || size != 1<<30 || !created.Equal(time.Unix(1e9, 0)) {
			t.Errorf("status of %s: %v, %v, %d, %v", want, ready, created, size, err)
		}
		if err := maker.DeleteSnapshot(t.Context(), want, nil); err != nil {
			t.Error(err)
		}
		if _, _, _, _, err := maker.GetSnapshotStatus(t.Context(), want, nil); !errors.Is(err, storage.ErrGone) {
			t.Errorf("status after delete: %v", err)
		}
	}
	for _, gone := range []string{"local/gone/snapshot-1", "of another driver"} {
		if err := maker.DeleteSnapshot(t.Context(), gone, nil); err != nil {
			t.Errorf("delete %s: %v", gone, err)
		}
	}
	if err := maker.DeleteSnapshot(t.Context(), "local/off/snapshot-1", nil); !errors.Is(err, errOff) {
		t.Errorf("delete on a node that is off: %v", err)
	}
}

// TestProvisionFrom makes volumes of snapshots and claims, where their data is: the scheduler has no say in it.
func TestProvisionFrom(t *testing.T) {
	data, pv := bound("data", "n1")
	tree, treePV := bound("tree", "")
	for name, test := range map[string]struct {
		claim  *corev1.PersistentVolumeClaim
		handle string // of the snapshot
		want   storage.Source
		kind   storage.Kind
	}{
		"snapshot of a node":  {from(claim("standard", corev1.ReadWriteOnce), "VolumeSnapshot", "s"), "local/n1/snapshot-1", storage.Source{Kind: storage.NodeLocal, Snapshot: "snapshot-1"}, storage.NodeLocal},
		"shared snapshot":     {from(claim("shared", corev1.ReadWriteMany), "VolumeSnapshot", "s"), "shared/snapshot-1", storage.Source{Kind: storage.Shared, Snapshot: "snapshot-1"}, storage.Shared},
		"to the shared tree":  {from(claim("shared", corev1.ReadWriteMany), "VolumeSnapshot", "s"), "local/n1/snapshot-1", storage.Source{Kind: storage.NodeLocal, Snapshot: "snapshot-1"}, storage.Shared},
		"clone of a node's":   {from(claim("standard", corev1.ReadWriteOnce), "PersistentVolumeClaim", "data"), "", storage.Source{Kind: storage.NodeLocal, Volume: "pv-data"}, storage.NodeLocal},
		"clone of a shared":   {from(claim("shared", corev1.ReadWriteMany), "PersistentVolumeClaim", "tree"), "", storage.Source{Kind: storage.Shared, Volume: "pv-tree"}, storage.Shared},
		"wrong node selected": {from(onNodeClaim("n2"), "PersistentVolumeClaim", "data"), "", storage.Source{Kind: storage.NodeLocal, Volume: "pv-data"}, storage.NodeLocal},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot, content := readySnapshot("s", test.handle)
			objects := []runtime.Object{test.claim.DeepCopy(), data.DeepCopy(), pv.DeepCopy(), tree.DeepCopy(), treePV.DeepCopy()}
			if test.handle != "" {
				objects = append(objects, snapshot, content)
			}
			nodes := newFakeNodes("n1", "n2")
			nodes.changing = []string{"db/log"}
			s := start(t, nodes, objects...)
			key := "n1/" + string(test.kind) + "/" + pvName
			eventually(t, "a volume on the node that has the data", func() bool { return s.nodes.has(key) })
			s.nodes.mu.Lock()
			got := s.nodes.volumes[key]
			s.nodes.mu.Unlock()
			if got.Source == nil {
				t.Fatalf("the volume is empty: %+v", got)
			}
			if d := cmp.Diff(test.want, *got.Source); d != "" {
				t.Errorf("source (-want +got):\n%s", d)
			}
			eventually(t, "a PersistentVolume", func() bool {
				pv, err := s.api.CoreV1().PersistentVolumes().Get(t.Context(), pvName, metav1.GetOptions{})
				return err == nil && (nodeOf(pv) == "n1") == (test.kind == storage.NodeLocal)
			})
			eventually(t, "an event about what changed", func() bool {
				return slices.ContainsFunc(s.events(t, "c"), func(e string) bool { return strings.HasPrefix(e, "ChangedWhileCopied: pods wrote to db/log ") })
			})
		})
	}
}

func TestRefusedSources(t *testing.T) {
	data, pv := bound("data", "n1")
	pending := claim("standard", corev1.ReadWriteOnce)
	pending.Name = "pending"
	foreign, foreignPV := bound("foreign", "n1")
	foreignPV.Spec.CSI.Driver = "csi.example.com"
	snapshot, content := readySnapshot("s", "local/n1/snapshot-1")
	unready, failed, going, alien, stolen := snapshot.DeepCopy(), snapshot.DeepCopy(), snapshot.DeepCopy(), snapshot.DeepCopy(), snapshot.DeepCopy()
	unready.Name, failed.Name, going.Name, alien.Name, stolen.Name = "unready", "failed", "going", "alien", "stolen"
	unready.Status = nil
	failed.Status = &snapshotv1.VolumeSnapshotStatus{ReadyToUse: pointer(false), Error: &snapshotv1.VolumeSnapshotError{Message: pointer("no class")}}
	going.DeletionTimestamp, going.Finalizers = &metav1.Time{Time: time.Unix(1e9, 0)}, []string{"a/b"}
	alien.Status.BoundVolumeSnapshotContentName = pointer("alien")
	_, alienContent := readySnapshot("alien", "x")
	alienContent.Name, alienContent.Spec.Driver = "alien", "csi.example.com"
	small, raw, elsewhere := claim("shared"), claim("shared"), claim("shared")
	small.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("512Mi")
	raw.Spec.VolumeMode = pointer(corev1.PersistentVolumeBlock)
	elsewhere.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data", Namespace: pointer("other")}
	s := start(t, newFakeNodes("n1"), data, pv, pending, foreign, foreignPV, snapshot, content, unready, failed, going, alien, alienContent, stolen)
	sources := sources{client: s.api, snapshots: s.snapshotAPI}
	for name, test := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		says  string
		wait  bool
	}{
		"no snapshot":     {from(claim("shared"), "VolumeSnapshot", "none"), "VolumeSnapshot none: there is none", false},
		"not ready":       {from(claim("shared"), "VolumeSnapshot", "unready"), "VolumeSnapshot unready: not ready yet", true},
		"failed":          {from(claim("shared"), "VolumeSnapshot", "failed"), "could not be made: no class", false},
		"being deleted":   {from(claim("shared"), "VolumeSnapshot", "going"), "it is being deleted", false},
		"another driver":  {from(claim("shared"), "VolumeSnapshot", "alien"), "driver csi.example.com", false},
		"another's":       {from(claim("shared"), "VolumeSnapshot", "stolen"), "bound to another VolumeSnapshot", false},
		"smaller":         {from(small, "VolumeSnapshot", "s"), "requests 512Mi, and VolumeSnapshot s has 1Gi: request that or more", false},
		"smaller clone":   {from(small.DeepCopy(), "PersistentVolumeClaim", "data"), "requests 512Mi, and PersistentVolumeClaim data has 1Gi", false},
		"other mode":      {from(raw, "VolumeSnapshot", "s"), "different volumeModes", false},
		"no claim":        {from(claim("shared"), "PersistentVolumeClaim", "none"), "PersistentVolumeClaim none: there is none", false},
		"pending claim":   {from(claim("shared"), "PersistentVolumeClaim", "pending"), "it has no volume", true},
		"foreign claim":   {from(claim("shared"), "PersistentVolumeClaim", "foreign"), "not one of csi.kl.dev", false},
		"other kind":      {from(claim("shared"), "ConfigMap", "c"), `a ConfigMap of group ""`, false},
		"other namespace": {elsewhere, "dataSourceRef is in namespace other", false},
	} {
		got, err := sources.of(t.Context(), test.claim)
		if err == nil || !strings.Contains(err.Error(), test.says) || errors.Is(err, errWait) != test.wait {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := sources.of(t.Context(), claim("shared")); got != nil || err != nil {
		t.Errorf("no source: %+v, %v", got, err)
	}
}

// A claim whose data does not exist says so, although no pod uses it.
func TestMissingSourceIsSaid(t *testing.T) {
	s := start(t, newFakeNodes("n1"), from(claim("standard", corev1.ReadWriteOnce), "VolumeSnapshot", "none"))
	eventually(t, "an event", func() bool {
		return slices.Contains(s.events(t, "c"), "ProvisioningFailed: VolumeSnapshot none: there is none")
	})
}
