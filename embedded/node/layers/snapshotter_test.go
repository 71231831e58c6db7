package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: NOT ROOT. Sharing layers was not tested.")
	}
}

// node is a node's snapshotter.
type node struct {
	snapshots.Snapshotter
	root string
}

func newNode(t *testing.T, store, name string) node {
	t.Helper()
	n := node{root: t.TempDir()}
	n.open(t, store, name)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close %s: %v", name, err)
		}
	})
	return n
}

func (n *node) open(t *testing.T, dir, name string) {
	t.Helper()
	s, err := Open(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	o, err := overlay.NewSnapshotter(n.root, overlay.AsynchronousRemove)
	if err != nil {
		t.Fatal(err)
	}
	if n.Snapshotter, err = NewSnapshotter(t.Context(), o, s, slog.New(slog.NewTextHandler(t.Output(), nil))); err != nil {
		t.Fatal(err)
	}
}

// layer is a layer as a tar.
type layer []byte

// newLayer makes a layer of files, by path; those whose name begins with .wh. remove one.
func newLayer(t *testing.T, files map[string]string) layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: time.Unix(1e9, 0)}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (l layer) id() digest.Digest { return digest.FromBytes(l) }

// unpack does what containerd's unpacker does with the layers of an image, and returns the snapshot of the last and how many layers
// were unpacked.
func (n node) unpack(t *testing.T, layers ...layer) (top string, unpacked int) {
	t.Helper()
	parent := ""
	var ids []digest.Digest
	for _, l := range layers {
		ids = append(ids, l.id())
		chain := identity.ChainID(ids).String()
		if n.prepare(t, l, parent, chain) {
			unpacked++
		}
		parent = n.snapshot(t, chain)
	}
	return parent, unpacked
}

func (n node) prepare(t *testing.T, l layer, parent, chain string) bool {
	t.Helper()
	ctx, key := t.Context(), "extract "+chain
	opt := snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: chain, snapshots.LabelSnapshotDiffID: l.id().String()})
	mounts, err := n.Prepare(ctx, key, parent, opt)
	if errdefs.IsAlreadyExists(err) {
		return false
	}
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	unpackInto(t, mounts, l)
	if err := n.Commit(ctx, chain, key, opt); err != nil {
		t.Fatalf("commit: %v", err)
	}
	return true
}

// unpackInto unpacks a layer as containerd does on overlayfs: without mounting it.
func unpackInto(t *testing.T, mounts []mount.Mount, l layer) {
	t.Helper()
	dir, err := filesOf(mounts)
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(l)
	if _, err := archive.Apply(t.Context(), dir, r, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)); err != nil {
		t.Fatalf("apply: %v", err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
}

// snapshot returns the snapshot of a chain, as containerd's metadata finds it.
func (n node) snapshot(t *testing.T, chain string) string {
	t.Helper()
	var names []string
	if err := n.Walk(t.Context(), func(_ context.Context, i snapshots.Info) error {
		if i.Kind == snapshots.KindCommitted && i.Labels[snapshots.LabelSnapshotRef] == chain {
			names = append(names, i.Name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(names) != 1 {
		t.Fatalf("snapshots of %s: %v", chain, names)
	}
	return names[0]
}

// files mounts a container's file system over a snapshot, writes a file there, and returns what it sees.
func (n node) files(t *testing.T, name, parent string) map[string]string {
	t.Helper()
	mounts, err := n.Prepare(t.Context(), name, parent)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := mount.WithTempMount(t.Context(), mounts, func(root string) error {
		if err := os.WriteFile(filepath.Join(root, "written"), []byte(name), 0o600); err != nil {
			return err
		}
		return filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			got[strings.TrimPrefix(path, root+"/")] = string(data)
			return err
		})
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// regular counts the files that a node has of its own.
func (n node) regular(t *testing.T) (count int) {
	t.Helper()
	if err := filepath.WalkDir(filepath.Join(n.root, "snapshots"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			count++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return count
}

// TestSuite: with a store, overlayfs is still what containerd asks of a snapshotter.
func TestSuite(t *testing.T) {
	needRoot(t)
	testsuite.SnapshotterSuite(t, "overlayfs", func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		o, err := overlay.NewSnapshotter(root)
		if err != nil {
			return nil, nil, err
		}
		store, err := Open(t.TempDir(), "n1")
		if err != nil {
			return nil, nil, err
		}
		s, err := NewSnapshotter(ctx, o, store, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	})
}

func TestShared(t *testing.T) {
	needRoot(t)
	base := newLayer(t, map[string]string{"etc/name": "base", "etc/old": "base", "opt/kept": "base"})
	change := newLayer(t, map[string]string{"etc/name": "changed", "etc/.wh.old": ""})
	other := newLayer(t, map[string]string{"srv/other": "other"})
	store := t.TempDir()
	n1, n2 := newNode(t, store, "c1.n1"), newNode(t, store, "c2.n1")

	top1, unpacked := n1.unpack(t, base, change)
	if unpacked != 2 {
		t.Errorf("the first node unpacked %d layers, want 2", unpacked)
	}
	top2, unpacked := n2.unpack(t, base, change)
	if unpacked != 0 {
		t.Errorf("the second node unpacked %d layers, want 0", unpacked)
	}
	for name, n := range map[string]struct {
		node
		top string
	}{"c1": {n1, top1}, "c2": {n2, top2}} {
		want := map[string]string{"etc/name": "changed", "opt/kept": "base", "written": name}
		if diff := cmp.Diff(want, n.files(t, name, n.top)); diff != "" {
			t.Errorf("%s sees (-want +got):\n%s", name, diff)
		}
		if own := n.regular(t); own != 1 { // the container's
			t.Errorf("%s has %d files of its own, want 1", name, own)
		}
	}
	// The same layer in another image, above another layer.
	top, unpacked := n2.unpack(t, other, base)
	if unpacked != 1 {
		t.Errorf("%d layers unpacked, want 1", unpacked)
	}
	want := map[string]string{"etc/name": "base", "etc/old": "base", "opt/kept": "base", "srv/other": "other", "written": "c"}
	if diff := cmp.Diff(want, n2.files(t, "c", top)); diff != "" {
		t.Errorf("the other image (-want +got):\n%s", diff)
	}
}

// TestTwoAtOnce: two nodes unpack a layer at once, by containerd, and what was first stays; a third adds it meanwhile.
func TestTwoAtOnce(t *testing.T) {
	needRoot(t)
	l := newLayer(t, map[string]string{"a": "1"})
	chain := l.id().String()
	opt := snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: chain, snapshots.LabelSnapshotDiffID: chain})
	dir := t.TempDir()
	var tops []node
	for _, name := range []string{"n1", "n2"} {
		n := newNode(t, dir, name)
		mounts, err := n.Prepare(t.Context(), "extract", "", opt)
		if err != nil {
			t.Fatal(err)
		}
		unpackInto(t, mounts, l)
		tops = append(tops, n)
	}
	n3, err := Open(dir, "n3")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := n3.Add(t.Context(), slog.Default(), l.id(), nil, bytes.NewReader(l)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range tops {
		if err := n.Commit(t.Context(), chain, "extract", opt); err != nil {
			t.Fatal(err)
		}
		if own := n.regular(t); own != 0 {
			t.Errorf("a node has %d files of its own", own)
		}
		if got := n.files(t, "c", chain); got["a"] != "1" {
			t.Errorf("a container sees %v", got)
		}
	}
	if left, err := os.ReadDir(n3.unfinished()); err != nil || len(left) > 0 {
		t.Errorf("left unfinished: %v, %v", left, err)
	}
}

// TestFailed: a layer whose unpacking fails keeps nobody waiting, and is not found.
func TestFailed(t *testing.T) {
	needRoot(t)
	l := newLayer(t, map[string]string{"a": "1"})
	chain := l.id().String()
	opt := snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: chain, snapshots.LabelSnapshotDiffID: chain})
	dir := t.TempDir()
	n1, n2 := newNode(t, dir, "n1"), newNode(t, dir, "n2")
	if _, err := n1.Prepare(t.Context(), "extract", "", opt); err != nil {
		t.Fatal(err)
	}
	if _, unpacked := n2.unpack(t, l); unpacked != 1 { // containerd has not cleaned up after n1 yet
		t.Errorf("%d layers unpacked, want 1", unpacked)
	}
	if err := n1.Remove(t.Context(), "extract"); err != nil {
		t.Fatal(err)
	}
	if _, unpacked := n1.unpack(t, l); unpacked != 0 {
		t.Errorf("%d layers unpacked, want 0", unpacked)
	}
}

// TestCollect: a layer stays while a node uses it, goes after a time if none does, and at once with what was left unfinished.
func TestCollect(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	n1, n2 := newNode(t, dir, "n1"), newNode(t, dir, "n2")
	l := newLayer(t, map[string]string{"a": "1"})
	top1, _ := n1.unpack(t, l)
	top2, _ := n2.unpack(t, l)
	store, err := Open(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	collect := func(want int, unused time.Duration, alive func(string) bool) {
		t.Helper()
		removed, err := store.Collect(t.Context(), unused, alive)
		if err != nil || len(removed) != want || want == 1 && removed[0] != l.id() {
			t.Errorf("collected %v, %v, want %d", removed, err, want)
		}
	}
	collect(0, 0, nil)
	if err := n1.Remove(t.Context(), top1); err != nil {
		t.Fatal(err)
	}
	collect(0, 0, nil)
	if diff := cmp.Diff(map[string]string{"a": "1", "written": "c"}, n2.files(t, "c", top2)); diff != "" {
		t.Errorf("the other node sees (-want +got):\n%s", diff)
	}
	if err := n2.Remove(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if err := n2.Remove(t.Context(), top2); err != nil {
		t.Fatal(err)
	}
	collect(0, time.Hour, nil)
	collect(1, 0, nil)

	n1.unpack(t, l) // and then its cluster is removed
	collect(0, 0, func(node string) bool { return node == "n1" })
	collect(1, 0, func(node string) bool { return node != "n1" })

	left := filepath.Join(dir, "new", "123")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	collect(0, 0, nil)
	if _, err := os.Stat(left); err != nil {
		t.Errorf("a directory that was just made: %v", err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(left, old, old); err != nil {
		t.Fatal(err)
	}
	collect(0, 0, nil)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("an abandoned directory: %v", err)
	}
}

// TestPowerFailure: a layer that was not on the disk when the machine went down is unpacked again, one that was is not.
func TestPowerFailure(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	n1 := newNode(t, dir, "n1")
	l := newLayer(t, map[string]string{"a": "1"})
	n1.unpack(t, l)
	if err := n1.Close(); err != nil { // waits until it is on the disk
		t.Fatal(err)
	}
	n1.open(t, dir, "n1")
	if _, unpacked := newNode(t, dir, "n2").unpack(t, l); unpacked != 0 {
		t.Errorf("unpacked again after a settled start: %d", unpacked)
	}
	boot := filepath.Join(dir, "sha256", l.id().Encoded(), bootName)
	if err := os.WriteFile(boot, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, unpacked := newNode(t, dir, "n3").unpack(t, l); unpacked != 1 {
		t.Errorf("not unpacked again after a power failure")
	}
}

// TestReleasedAtStart: what a node's snapshots no longer use is released when its containerd starts.
func TestReleasedAtStart(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	l := newLayer(t, map[string]string{"a": "1"})
	newNode(t, dir, "n1").unpack(t, l)
	newNode(t, dir, "n1") // as new: its volume was removed
	s, err := Open(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if used, err := s.Used(); err != nil || len(used) > 0 {
		t.Errorf("it uses %v, %v", used, err)
	}
}

// TestNotShared: layers are unpacked without the store where it cannot have them.
func TestNotShared(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	n1, n2 := newNode(t, dir, "n1"), newNode(t, dir, "n2")
	foreign := newLayer(t, map[string]string{"a": "1"})
	for _, d := range []string{"new", "locks"} {
		path := filepath.Join(dir, d)
		if err := os.Rename(path, path+".gone"); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []node{n1, n2} {
		top, unpacked := n.unpack(t, foreign)
		if got := n.files(t, "c", top); unpacked != 1 || got["a"] != "1" || n.regular(t) != 2 {
			t.Errorf("unpacked %d layers, container sees %v, %d files", unpacked, got, n.regular(t))
		}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "sha256")); err != nil || len(entries) > 0 {
		t.Errorf("the store has %v, %v", entries, err)
	}
	if _, err := Open(dir, "../n1"); err == nil {
		t.Error("a node may have any name")
	}
	if _, err := Open(dir, ""); err == nil {
		t.Error("a node may have no name")
	}
}

func TestAdd(t *testing.T) {
	needRoot(t)
	s, err := Open(t.TempDir(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	l := newLayer(t, map[string]string{"a": "1"})
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	cut := io.MultiReader(bytes.NewReader(l[:700]), errReader{})
	for name, tar := range map[string]io.Reader{
		"another layer": bytes.NewReader(newLayer(t, map[string]string{"a": "2"})), "cut off": bytes.NewReader(l[:700]), "broken off": cut,
		"empty": bytes.NewReader(nil), "more": io.MultiReader(bytes.NewReader(l), strings.NewReader("x")),
	} {
		if err := s.Add(t.Context(), logger, l.id(), nil, tar); err == nil {
			t.Errorf("%s: no error", name)
		}
		if list, err := s.List(); err != nil || len(list) > 0 {
			t.Errorf("%s: the store has %v, %v", name, list, err)
		}
	}
	if err := s.Add(t.Context(), logger, "sha256:../x", nil, bytes.NewReader(l)); err == nil {
		t.Error("a layer may have any name")
	}
	for range 2 {
		if err := s.Add(t.Context(), logger, l.id(), []digest.Digest{"x", digest.FromString("absent")}, bytes.NewReader(l)); err != nil {
			t.Errorf("add: %v", err)
		}
	}
	if left, err := os.ReadDir(s.unfinished()); err != nil || len(left) > 0 {
		t.Errorf("left unfinished: %v, %v", left, err)
	}
	if list, err := s.List(); err != nil || !cmp.Equal(list, []digest.Digest{l.id()}) {
		t.Errorf("the store has %v, %v", list, err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
