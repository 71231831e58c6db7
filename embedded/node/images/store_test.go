package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/introspection/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/klkube/kl/cluster"
)

// differ is containerd's diff service.
type differ struct {
	diff.Comparer
	diff.Applier
}

// noLabels is containerd's namespace service with namespaces that have no labels.
type noLabels struct{ namespaces.Store }

func (noLabels) Labels(context.Context, string) (map[string]string, error) { return nil, nil }

// introspector is containerd's introspection service with one plugin.
type introspector struct{ plugin *introspection.Plugin }

func (i introspector) Plugins(context.Context, ...string) (*introspection.PluginsResponse, error) {
	if i.plugin == nil {
		return nil, errors.New("connection refused")
	}
	return &introspection.PluginsResponse{Plugins: []*introspection.Plugin{i.plugin}}, nil
}

func (introspector) Server(context.Context) (*introspection.ServerResponse, error) {
	return nil, errors.ErrUnsupported
}

func (introspector) PluginInfo(context.Context, string, string, any) (*introspection.PluginInfoResponse, error) {
	return nil, errors.ErrUnsupported
}

// needRoot skips a test that unpacks layers, for which containerd mounts a directory.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: NOT ROOT. Importing images was not tested.")
	}
}

// newStore returns a Store over containerd's own services in this process, and the snapshotter that it unpacks into.
func newStore(t *testing.T, services ...containerd.ServicesOpt) (context.Context, *Store, snapshots.Snapshotter) {
	t.Helper()
	snapshotter, err := native.NewSnapshotter(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return newStoreOn(t, snapshotter, services...)
}

// newStoreOn is newStore with a snapshotter of choice, which it closes.
func newStoreOn(t *testing.T, snapshotter snapshots.Snapshotter, services ...containerd.ServicesOpt) (context.Context, *Store, snapshots.Snapshotter) {
	t.Helper()
	dir := t.TempDir()
	content, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		t.Fatal(err)
	}
	bolt, err := bbolt.Open(filepath.Join(dir, "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { snapshotter.Close(); bolt.Close() })
	db := metadata.NewDB(bolt, content, map[string]snapshots.Snapshotter{"overlayfs": snapshotter})
	ctx := namespaces.WithNamespace(t.Context(), namespace)
	if err := db.Init(ctx); err != nil {
		t.Fatal(err)
	}
	services = append(services,
		containerd.WithContentStore(db.ContentStore()), containerd.WithImageStore(metadata.NewImageStore(db)),
		containerd.WithNamespaceService(noLabels{}), containerd.WithLeasesService(metadata.NewLeaseManager(db)),
		containerd.WithSnapshotters(map[string]snapshots.Snapshotter{"overlayfs": db.Snapshotter("overlayfs")}),
		containerd.WithDiffService(differ{walking.NewWalkingDiff(db.ContentStore()), apply.NewFileSystemApplier(db.ContentStore())}),
	)
	client, err := containerd.New("", containerd.WithDefaultNamespace(namespace), containerd.WithServices(services...))
	if err != nil {
		t.Fatal(err)
	}
	s := &Store{client: client, uses: func(context.Context) (map[string][]cluster.ImageUse, error) { return nil, nil }}
	t.Cleanup(func() { s.Close() })
	return ctx, s, db.Snapshotter("overlayfs")
}

type file struct {
	name string
	data []byte
}

func archive(t *testing.T, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// dockerArchive is what `docker save` writes for an image with one file, and the digest of its configuration.
func dockerArchive(t *testing.T, content string, names ...string) (data []byte, config digest.Digest) {
	t.Helper()
	return archiveFor(t, runtime.GOARCH, content, names...)
}

// archiveFor is a docker-archive with an image for an architecture.
func archiveFor(t *testing.T, arch, content string, names ...string) (data []byte, config digest.Digest) {
	t.Helper()
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	layer := archive(t, file{"hello", []byte(content)})
	image := encode(map[string]any{
		"architecture": arch, "os": "linux",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest.FromBytes(layer).String()}},
	})
	manifest := encode([]map[string]any{{"Config": "config.json", "RepoTags": names, "Layers": []string{"layer.tar"}}})
	return archive(t, file{"layer.tar", layer}, file{"config.json", image}, file{"manifest.json", manifest}), digest.FromBytes(image)
}

func TestImport(t *testing.T) {
	needRoot(t)
	ctx, s, snapshotter := newStore(t)
	data, config := dockerArchive(t, "one", "example.com/b:1", "busybox:1")
	imported, err := s.Import(ctx, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if len(imported) != 1 {
		t.Fatalf("imported %+v, want one image", imported)
	}
	want := []cluster.Image{{
		Names: []string{
			"docker.io/library/busybox:1", "docker.io/library/busybox@" + imported[0].Digest,
			"example.com/b:1", "example.com/b@" + imported[0].Digest,
		},
		Digest: imported[0].Digest, Config: config.String(), Size: imported[0].Size, Source: sourceArchive,
	}}
	if d := cmp.Diff(want, imported); d != "" {
		t.Errorf("imported (-want +got):\n%s", d)
	}
	if imported[0].Size <= int64(len("one")) {
		t.Errorf("size is %d bytes", imported[0].Size)
	}
	unpacked := 0
	if err := snapshotter.Walk(ctx, func(context.Context, snapshots.Info) error { unpacked++; return nil }); err != nil {
		t.Fatal(err)
	}
	if unpacked != 1 {
		t.Errorf("%d layers are unpacked, want 1", unpacked)
	}

	another, _ := dockerArchive(t, "two", "example.com/a:1")
	if _, err := s.Import(ctx, bytes.NewReader(another)); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, image := range list {
		for _, name := range image.Names {
			if !strings.Contains(name, "@") {
				names = append(names, name)
			}
		}
	}
	if d := cmp.Diff([]string{"docker.io/library/busybox:1", "example.com/b:1", "example.com/a:1"}, names); d != "" {
		t.Errorf("list (-want +got):\n%s", d)
	}
}

// TestImportPins loads three builds of an image under one name, of which one has another name as well. The kubelet spares what has a
// name, and may remove what has lost it.
func TestImportPins(t *testing.T) {
	needRoot(t)
	ctx, s, _ := newStore(t)
	builds := make([]string, 0, 3)
	for _, names := range [][]string{{"app:dev"}, {"app:dev", "app:v1"}, {"app:dev"}} {
		data, _ := dockerArchive(t, strings.Repeat("x", len(builds)+1), names...)
		imported, err := s.Import(ctx, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		builds = append(builds, "docker.io/library/app@"+imported[0].Digest)
		// As containerd's CRI plugin names it.
		image, err := s.client.ImageService().Get(ctx, builds[len(builds)-1])
		if err != nil {
			t.Fatal(err)
		}
		image.Name, image.Labels = imported[0].Config, nil
		if _, err := s.client.ImageService().Create(ctx, image); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{
		"docker.io/library/app:dev": true, "docker.io/library/app:v1": true, builds[0]: false, builds[1]: true, builds[2]: true,
	} {
		image, err := s.client.ImageService().Get(ctx, name)
		if got := image.Labels["io.cri-containerd.pinned"] == "pinned"; err != nil || got != want {
			t.Errorf("%s is pinned: %t (%v), want %t", name, got, err, want)
		}
	}
}

func TestImportWithoutName(t *testing.T) {
	needRoot(t)
	ctx, s, _ := newStore(t)
	data, _ := dockerArchive(t, "one")
	imported, err := s.Import(ctx, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if len(imported) != 1 || len(imported[0].Names) != 1 || imported[0].Names[0] != "kl.local/imported@"+imported[0].Digest {
		t.Errorf("imported %+v, want one image named after its digest", imported)
	}
}

// TestImportForAnotherPlatform imports what cannot run here under the name of what can, which keeps it.
func TestImportForAnotherPlatform(t *testing.T) {
	needRoot(t)
	ctx, s, _ := newStore(t)
	good, _ := dockerArchive(t, "one", "app:dev")
	imported, err := s.Import(ctx, bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	bad, _ := archiveFor(t, "riscv64", "two", "app:dev", "app:new")
	_, err = s.Import(ctx, bytes.NewReader(bad))
	want := "docker.io/library/app:dev cannot run here: the image is for linux/riscv64, the node is linux/" + runtime.GOARCH
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v, want %q", err, want)
	}
	list, err := s.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(imported, list); d != "" {
		t.Errorf("images before and after (-before +after):\n%s", d)
	}
}

// TestImportOfMissingPlatform imports an index that names this platform, but whose archive holds another alone.
func TestImportOfMissingPlatform(t *testing.T) {
	ctx, s, _ := newStore(t)
	config := []byte(`{"architecture":"riscv64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%d},"layers":[]}`,
		digest.FromBytes(config), len(config))
	entry := func(arch string, d digest.Digest, size int) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%d,"platform":{"os":"linux","architecture":"%s"}}`, d, size, arch)
	}
	index := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` +
		entry(runtime.GOARCH, digest.FromString("not in the archive"), 100) + "," + entry("riscv64", digest.FromBytes(manifest), len(manifest)) + `]}`)
	layout := fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"%s","size":%d,"annotations":{"io.containerd.image.name":"example.com/app:1"}}]}`,
		digest.FromBytes(index), len(index))
	blob := func(data []byte) file { return file{"blobs/sha256/" + digest.FromBytes(data).Encoded(), data} }
	data := archive(t, file{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, blob(config), blob(manifest), blob(index), file{"index.json", layout})
	_, err := s.Import(ctx, bytes.NewReader(data))
	if want := "example.com/app:1 cannot run here: the image is for linux/riscv64,"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v, want %q", err, want)
	}
}

func TestImportOfInvalidArchives(t *testing.T) {
	ctx, s, _ := newStore(t)
	for name, data := range map[string][]byte{
		"no archive": []byte("#!/bin/sh\n"), "no manifest": archive(t, file{"readme", []byte("hello")}),
	} {
		if imported, err := s.Import(ctx, bytes.NewReader(data)); err == nil {
			t.Errorf("%s: imported %+v", name, imported)
		}
	}
	if list, err := s.List(ctx); err != nil || len(list) > 0 {
		t.Errorf("images %+v, %v", list, err)
	}
}

func TestHas(t *testing.T) {
	needRoot(t)
	ctx, s, _ := newStore(t)
	data, _ := dockerArchive(t, "one", "example.com/a:1")
	if _, err := s.Import(ctx, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"example.com/a:1": true, "example.com/a:2": false} {
		if has, err := s.Has(ctx, name); err != nil || has != want {
			t.Errorf("Has(%s) = %v, %v, want %v", name, has, err, want)
		}
	}
	if has, err := s.Has(t.Context(), "example.com/a:1"); err == nil { // without a namespace containerd refuses
		t.Errorf("Has without a namespace = %v, want an error", has)
	}
}

func TestCheckCRI(t *testing.T) {
	failed := &rpc.Status{Message: "too many open files"}
	for _, tt := range []struct {
		name   string
		plugin *introspection.Plugin
		want   string
	}{
		{"loaded", &introspection.Plugin{ID: "cri"}, "<nil>"},
		{"not loaded", &introspection.Plugin{ID: "cri", InitErr: failed}, "load containerd's CRI plugin: too many open files"},
		{"no answer", nil, "list containerd's plugins: connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, s, _ := newStore(t, containerd.WithIntrospectionService(introspector{tt.plugin}))
			if got := fmt.Sprint(s.CheckCRI(ctx)); got != tt.want {
				t.Errorf("CheckCRI() = %s, want %s", got, tt.want)
			}
		})
	}
}

// TestReady connects over a socket, as to the real daemon.
func TestReady(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "c.sock")
	s, err := Open(socket) // before anything listens
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if ready, err := s.Ready(short); ready || err == nil {
		t.Errorf("before the start: %v, %v", ready, err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server, checks := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(server, checks)
	go server.Serve(l)
	defer server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if ready, err := s.Ready(ctx); !ready || err != nil {
		t.Errorf("while it serves: %v, %v", ready, err)
	}
	checks.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	if ready, err := s.Ready(ctx); ready || err != nil {
		t.Errorf("while it shuts down: %v, %v", ready, err)
	}
}
