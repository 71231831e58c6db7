package storage

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/fake"
	snapshotscheme "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/scheme"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/storage"
)

// fakeNodes implements Nodes with agents that hold volumes in memory.
type fakeNodes struct {
	mu      sync.Mutex
	on      []string
	volumes map[string]storage.Volume   // by node/kind/id
	copies  map[string]storage.Snapshot // by node/kind/id
	disks   map[string][]storage.Disk   // by node
	cleaned []string
	refuse  error // the agents' answer, if set

	changing []string // what pods write to while it is copied
	changed  chan struct{}
}

func newFakeNodes(on ...string) *fakeNodes {
	return &fakeNodes{on: on, volumes: map[string]storage.Volume{}, copies: map[string]storage.Snapshot{}, disks: map[string][]storage.Disk{}, changed: make(chan struct{})}
}

func (f *fakeNodes) Watch() ([]string, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.on), f.changed
}

func (f *fakeNodes) turn(on ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = on
	close(f.changed)
	f.changed = make(chan struct{})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (f *fakeNodes) AgentTransport(node string) http.RoundTripper {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+storage.StatePath, func(w http.ResponseWriter, _ *http.Request) {
		pool := storage.Pool{Capacity: 10 << 30, Available: 5 << 30}
		_ = json.NewEncoder(w).Encode(storage.State{Pools: map[storage.Kind]storage.Pool{storage.NodeLocal: pool}, Disks: f.disks[node]})
	})
	mux.HandleFunc("PUT "+storage.VolumePath, func(w http.ResponseWriter, r *http.Request) {
		var v storage.Volume
		_ = json.NewDecoder(r.Body).Decode(&v)
		f.volumes[node+"/"+r.PathValue("kind")+"/"+r.PathValue("id")] = v
		v.Limit.Reason = "a test"
		if v.Source != nil {
			v.Changed = f.changing
		}
		_ = json.NewEncoder(w).Encode(v)
	})
	mux.HandleFunc("DELETE "+storage.VolumePath, func(_ http.ResponseWriter, r *http.Request) {
		delete(f.volumes, node+"/"+r.PathValue("kind")+"/"+r.PathValue("id"))
	})
	mux.HandleFunc("PUT "+storage.SnapshotPath, func(w http.ResponseWriter, r *http.Request) {
		var s storage.Snapshot
		_ = json.NewDecoder(r.Body).Decode(&s)
		key := node + "/" + r.PathValue("kind") + "/" + r.PathValue("id")
		_, begun := f.copies[key] // the first time it is still being copied
		s.Ready, s.Size, s.Created, s.Changed = begun, 1<<30, time.Unix(1e9, 0), f.changing
		f.copies[key] = s
		_ = json.NewEncoder(w).Encode(s)
	})
	mux.HandleFunc("DELETE "+storage.SnapshotPath, func(_ http.ResponseWriter, r *http.Request) {
		delete(f.copies, node+"/"+r.PathValue("kind")+"/"+r.PathValue("id"))
	})
	mux.HandleFunc("GET "+storage.SnapshotsPath, func(w http.ResponseWriter, r *http.Request) {
		list := []storage.Snapshot{}
		for key, s := range f.copies {
			if strings.HasPrefix(key, node+"/"+r.PathValue("kind")+"/") {
				list = append(list, s)
			}
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	mux.HandleFunc("DELETE "+storage.FilesPath, func(_ http.ResponseWriter, r *http.Request) {
		f.cleaned = append(f.cleaned, node+"/"+r.PathValue("name"))
	})
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		w := httptest.NewRecorder()
		if f.refuse != nil {
			http.Error(w, f.refuse.Error(), storage.Status(f.refuse))
		} else {
			mux.ServeHTTP(w, r)
		}
		return w.Result(), nil
	})
}

// set changes what nodes answer, while they may be asked.
func (f *fakeNodes) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeNodes) has(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.volumes[key]
	return ok
}

// started is a controller that runs on a fake API.
type started struct {
	*Controller
	api         *fake.Clientset
	snapshotAPI *snapshotfake.Clientset
	nodes       *fakeNodes
}

func start(t *testing.T, nodes *fakeNodes, objects ...runtime.Object) *started {
	t.Helper()
	late, now := storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	objects = append(objects,
		&storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: "standard"}, Provisioner: storage.Driver, VolumeBindingMode: &late,
			Parameters: map[string]string{storage.KindKey: "local"},
		},
		&storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: "shared"}, Provisioner: storage.Driver, VolumeBindingMode: &now,
			Parameters: map[string]string{storage.KindKey: "shared"},
		},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "off"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "sim-1", Labels: map[string]string{cluster.SimulatedLabel: cluster.SimulatedValue}}},
	)
	var core, ofSnapshots []runtime.Object
	for _, o := range objects {
		if gvk, _, err := snapshotscheme.Scheme.ObjectKinds(o); err == nil && gvk[0].Group == snapshotv1.GroupName {
			ofSnapshots = append(ofSnapshots, o)
		} else {
			core = append(core, o)
		}
	}
	s := &started{Controller: &Controller{Options: Options{Nodes: nodes, Logger: slog.New(slog.DiscardHandler)}}, nodes: nodes}
	s.api = fake.NewClientset(core...)
	s.client, s.snapshotAPI = s.api, snapshotfake.NewSimpleClientset(ofSnapshots...) //nolint:staticcheck // upstream generates no other
	s.snapshotClient = s.snapshotAPI
	ctx, cancel := context.WithCancel(context.Background())
	if err := s.build(ctx); err != nil {
		t.Fatal(err)
	}
	s.snapshots.announce = func(context.Context) error { return nil }
	ended := make(chan struct{})
	go func() { _ = s.work(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return s
}

// eventually waits until the loops have done something.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// claim returns a claim that waits for the driver.
func claim(class string, modes ...corev1.PersistentVolumeAccessMode) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: "c", Namespace: "default", UID: "uid-x", Annotations: map[string]string{"volume.kubernetes.io/storage-provisioner": storage.Driver},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: modes,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
}

func onNodeClaim(node string) *corev1.PersistentVolumeClaim {
	c := claim("standard", corev1.ReadWriteOnce)
	c.Annotations["volume.kubernetes.io/selected-node"] = node
	return c
}

// events returns the messages about the claim or volume of that name.
func (s *started) events(t *testing.T, name string) []string {
	t.Helper()
	list, err := s.api.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var messages []string
	for _, e := range list.Items {
		if e.InvolvedObject.Name == name {
			messages = append(messages, e.Reason+": "+e.Message)
		}
	}
	return messages
}
