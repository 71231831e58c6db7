//go:build linux

package driver

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/klkube/kl/embedded/node/storage"
)

// fakeQuota records limits, or refuses them.
type fakeQuota struct {
	refuses error
	limits  map[string]int64
}

func (q *fakeQuota) Enforced() error { return q.refuses }
func (q *fakeQuota) Limit(dir string, bytes int64) error {
	q.limits[volumeOf(dir)] = bytes
	return nil
}
func (q *fakeQuota) Forget(dir string) error {
	delete(q.limits, volumeOf(dir))
	return nil
}

// volumeOf returns the volume of a data directory, also while it is being created.
func volumeOf(dir string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(filepath.Dir(dir)), newPrefix), "@")
	return id
}

func (q *fakeQuota) Used(string) (int64, bool) { return 0, false }

// serve runs a Server as a node does; calls go over its sockets.
func serve(t *testing.T) (*Server, *grpc.ClientConn, storage.Agent) {
	t.Helper()
	dir, err := os.MkdirTemp("", "kls") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	quota := &fakeQuota{limits: map[string]int64{}}
	s := &Server{
		Node: "n1", Version: "v1", Kubelet: filepath.Join(dir, "k"), Disks: Disks{Dir: filepath.Join(dir, "disks")},
		Local:  &Store{Kind: storage.NodeLocal, Dir: filepath.Join(dir, "local"), Quota: quota},
		Shared: &Store{Kind: storage.Shared, Dir: filepath.Join(dir, "shared"), Quota: quota, Mount: "no shared tree here"},
		Logger: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("run: %v", err)
	}
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	return s, dial(t, s.Socket()), storage.Agent{Node: web.Listener.Addr().String(), Transport: web.Client().Transport}
}

func dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestRegistration(t *testing.T) {
	s, conn, _ := serve(t)
	info, err := registration.NewRegistrationClient(dial(t, s.registrationSocket())).GetInfo(t.Context(), &registration.InfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if info.Type != registration.CSIPlugin || info.Name != storage.Driver || info.Endpoint != s.Socket() {
		t.Errorf("registration is %v", info)
	}
	plugin, err := csi.NewIdentityClient(conn).GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	if err != nil || plugin.Name != info.Name || plugin.VendorVersion != "v1" {
		t.Errorf("plugin is %v, %v", plugin, err)
	}
	probe, err := csi.NewIdentityClient(conn).Probe(t.Context(), &csi.ProbeRequest{})
	if err != nil || !probe.Ready.GetValue() {
		t.Errorf("probe: %v, %v", probe, err)
	}
	where, err := csi.NewNodeClient(conn).NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
	if err != nil || where.NodeId != "n1" || where.AccessibleTopology.Segments["kubernetes.io/hostname"] != "n1" {
		t.Errorf("node is %v, %v", where, err)
	}
}

func TestVolumes(t *testing.T) {
	s, _, agent := serve(t)
	v := storage.Volume{Kind: storage.NodeLocal, ID: "pvc-1", Size: 1 << 20}
	for _, step := range []struct{ size, want int64 }{ // created, unchanged, grown, never shrunk
		{1 << 20, 1 << 20}, {1 << 20, 1 << 20}, {2 << 20, 2 << 20}, {1 << 20, 2 << 20},
	} {
		v.Size = step.size
		got, err := agent.Put(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		want := storage.Volume{Kind: storage.NodeLocal, ID: "pvc-1", Size: step.want, Limit: storage.Limit{Enforced: true}}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("volume (-want +got):\n%s", d)
		}
	}
	private := storage.Volume{Kind: storage.NodeLocal, ID: "pvc-private", Size: 1, Mode: 0o700}
	if _, err := agent.Put(t.Context(), private); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]fs.FileMode{"pvc-1": storage.DefaultMode, "pvc-private": 0o700} {
		if info, err := os.Stat(s.Local.data(id)); err != nil || info.Mode().Perm() != want {
			t.Errorf("directory of %s: %v, %v, want mode %v", id, info.Mode(), err, want)
		}
	}
	if err := agent.Delete(t.Context(), storage.NodeLocal, private.ID); err != nil {
		t.Fatal(err)
	}
	quota := s.Local.Quota.(*fakeQuota)
	if quota.limits["pvc-1"] != 2<<20 {
		t.Errorf("limits are %v", quota.limits)
	}
	data := s.Local.data("pvc-1")
	if err := os.WriteFile(filepath.Join(data, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is none
		if err := agent.Delete(t.Context(), storage.NodeLocal, "pvc-1"); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(s.Local.Dir); err != nil || len(left) > 0 || len(quota.limits) > 0 {
		t.Errorf("left behind: %v, %v, limits %v", left, err, quota.limits)
	}
}

func TestRefusedVolumes(t *testing.T) {
	s, _, agent := serve(t)
	for name, test := range map[string]struct {
		v    storage.Volume
		is   error
		says string
	}{
		"outside":    {storage.Volume{Kind: storage.NodeLocal, ID: "..a", Size: 1}, storage.ErrInvalid, "cannot be its name"},
		"hidden":     {storage.Volume{Kind: storage.NodeLocal, ID: ".deleted-a", Size: 1}, storage.ErrInvalid, "cannot be its name"},
		"no size":    {storage.Volume{Kind: storage.NodeLocal, ID: "a"}, storage.ErrInvalid, "size 0"},
		"kind":       {storage.Volume{Kind: "other", ID: "a", Size: 1}, storage.ErrInvalid, `kind "other"`},
		"no mount":   {storage.Volume{Kind: storage.Shared, ID: "a", Size: 1}, nil, "no shared tree here"},
		"with slash": {storage.Volume{Kind: storage.NodeLocal, ID: "a/../../b", Size: 1}, storage.ErrInvalid, "cannot be its name"},
	} {
		_, err := agent.Put(t.Context(), test.v)
		if err == nil || !strings.Contains(err.Error(), test.says) || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(s.Local.Dir), "b")); err == nil {
		t.Error("a volume was created outside of the store")
	}
	state, err := agent.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p := state.Pools[storage.Shared]; p.Missing != "no shared tree here" {
		t.Errorf("shared pool is %+v", p)
	}
	if p := state.Pools[storage.NodeLocal]; p.Missing != "" || p.Available <= 0 || p.Capacity < p.Available || !p.Limit.Enforced {
		t.Errorf("local pool is %+v", p)
	}
}

// The next start finishes a removal that was interrupted, and a volume that was not finished is created again.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	s := &Store{Kind: storage.NodeLocal, Dir: dir, Quota: &fakeQuota{refuses: errors.New("none"), limits: map[string]int64{}}}
	for _, name := range []string{oldPrefix + "a", newPrefix + "b"} {
		if err := os.MkdirAll(filepath.Join(dir, name, dataDir, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := s.Put(t.Context(), storage.Volume{ID: "b", Size: 1}, nil)
	if err != nil || got.Limit.Enforced || got.Limit.Reason != "none" {
		t.Errorf("volume is %+v, %v", got, err)
	}
	entries, err := filepath.Glob(filepath.Join(dir, "*", dataDir, "*"))
	if err != nil || len(entries) > 0 {
		t.Errorf("data left: %v, %v", entries, err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("directories left: %v", names)
	}
}

func TestPublishRefusals(t *testing.T) {
	s, conn, agent := serve(t)
	if _, err := agent.Put(t.Context(), storage.Volume{Kind: storage.NodeLocal, ID: "a", Size: 1}); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(s.Kubelet, "target")
	mount := &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
	block := &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}, AccessMode: mount.AccessMode}
	odd := &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{MountFlags: []string{"vers=4"}}}, AccessMode: mount.AccessMode,
	}
	local := map[string]string{storage.KindKey: "local"}
	for name, test := range map[string]struct {
		r    *csi.NodePublishVolumeRequest
		code codes.Code
	}{
		"no volume":     {&csi.NodePublishVolumeRequest{TargetPath: target, VolumeCapability: mount, VolumeContext: local}, codes.InvalidArgument},
		"no target":     {&csi.NodePublishVolumeRequest{VolumeId: "a", VolumeCapability: mount, VolumeContext: local}, codes.InvalidArgument},
		"no capability": {&csi.NodePublishVolumeRequest{VolumeId: "a", TargetPath: target, VolumeContext: local}, codes.InvalidArgument},
		"block":         {&csi.NodePublishVolumeRequest{VolumeId: "a", TargetPath: target, VolumeCapability: block, VolumeContext: local}, codes.InvalidArgument},
		"odd option":    {&csi.NodePublishVolumeRequest{VolumeId: "a", TargetPath: target, VolumeCapability: odd, VolumeContext: local}, codes.InvalidArgument},
		"no kind":       {&csi.NodePublishVolumeRequest{VolumeId: "a", TargetPath: target, VolumeCapability: mount}, codes.InvalidArgument},
		"bad name":      {&csi.NodePublishVolumeRequest{VolumeId: "../a", TargetPath: target, VolumeCapability: mount, VolumeContext: local}, codes.InvalidArgument},
		"unknown":       {&csi.NodePublishVolumeRequest{VolumeId: "b", TargetPath: target, VolumeCapability: mount, VolumeContext: local}, codes.NotFound},
		"no shared tree": {&csi.NodePublishVolumeRequest{VolumeId: "a", TargetPath: target, VolumeCapability: mount,
			VolumeContext: map[string]string{storage.KindKey: "shared"}}, codes.FailedPrecondition},
	} {
		_, err := csi.NewNodeClient(conn).NodePublishVolume(t.Context(), test.r)
		if status.Code(err) != test.code {
			t.Errorf("%s: %v, want %v", name, err, test.code)
		}
	}
	if _, err := os.Stat(target); err == nil {
		t.Error("a refused volume has a mount point")
	}
}

// Sockets of a killed process do not stop the next one from listening, and are removed if there is no driver any more.
func TestStaleSockets(t *testing.T) {
	s, _, _ := serve(t)
	for _, socket := range []string{s.Socket(), s.registrationSocket()} {
		other := &Server{Kubelet: filepath.Join(t.TempDir(), "k")}
		stale := filepath.Join(other.Kubelet, strings.TrimPrefix(socket, s.Kubelet))
		if err := os.MkdirAll(filepath.Dir(stale), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(stale, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Forget(other.Kubelet); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", filepath.Base(stale), err)
		}
		l, err := listen(t.Context(), socket) // although one is there
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
}
