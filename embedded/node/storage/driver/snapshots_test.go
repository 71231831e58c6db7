//go:build linux

package driver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/klkube/kl/embedded/node/storage"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// put makes or changes a volume.
func put(t *testing.T, agent storage.Agent, v storage.Volume) storage.Volume {
	t.Helper()
	got, err := agent.Put(t.Context(), v)
	must(t, err)
	return got
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

func TestSnapshots(t *testing.T) {
	s, _, agent := serve(t)
	s.Shared.Mount = ""
	for _, kind := range []storage.Kind{storage.NodeLocal, storage.Shared} {
		store := s.stores()[kind]
		put(t, agent, storage.Volume{Kind: kind, ID: "a", Size: 1 << 20, Mode: 0o750})
		file := filepath.Join(store.data("a"), "file")
		must(t, os.WriteFile(file, []byte("old"), 0o640))
		var first storage.Snapshot
		for range 2 { // the second time it is there
			got, err := agent.PutSnapshot(t.Context(), kind, "s", "a")
			must(t, err)
			if first.ID == "" {
				first = got
			}
			want := storage.Snapshot{Kind: kind, ID: "s", Volume: "a", Size: 1 << 20, Created: first.Created, Ready: true}
			if d := cmp.Diff(want, got); d != "" || time.Since(got.Created) > time.Minute {
				t.Errorf("snapshot (-want +got):\n%s", d)
			}
		}
		must(t, os.WriteFile(file, []byte("new"), 0o640))
		put(t, agent, storage.Volume{Kind: kind, ID: "restored", Size: 2 << 20, Source: &storage.Source{Kind: kind, Snapshot: "s"}})
		put(t, agent, storage.Volume{Kind: kind, ID: "clone", Size: 1 << 20, Source: &storage.Source{Kind: kind, Volume: "a"}})
		for id, want := range map[string]string{"a": "new", "restored": "old", "clone": "new"} {
			if got := content(t, filepath.Join(store.data(id), "file")); got != want {
				t.Errorf("%s of kind %s holds %q, want %q", id, kind, got, want)
			}
			if info, err := os.Stat(store.data(id)); err != nil || info.Mode().Perm() != 0o750 {
				t.Errorf("directory of %s: %v, %v", id, info.Mode(), err)
			}
		}
		list, err := agent.Snapshots(t.Context(), kind)
		must(t, err)
		if d := cmp.Diff([]storage.Snapshot{first}, list); d != "" {
			t.Errorf("snapshots (-want +got):\n%s", d)
		}
	}
	put(t, agent, storage.Volume{Kind: storage.Shared, ID: "moved", Size: 1 << 20, Source: &storage.Source{Kind: storage.NodeLocal, Snapshot: "s"}})
	if got := content(t, filepath.Join(s.Shared.data("moved"), "file")); got != "old" {
		t.Errorf("a snapshot of a node's volume, restored to a shared one, holds %q", got)
	}
	limits := s.Local.Quota.(*fakeQuota).limits // of both stores
	if limits["restored"] != 2<<20 || limits["clone"] != 1<<20 {
		t.Errorf("limits are %v", limits)
	}
	for kind, store := range s.stores() {
		for _, id := range []string{"a", "restored", "clone", "moved"} {
			must(t, agent.Delete(t.Context(), kind, id))
		}
		must(t, agent.DeleteSnapshot(t.Context(), kind, "s"), agent.DeleteSnapshot(t.Context(), kind, "s")) // the second time there is none
		left, err := filepath.Glob(filepath.Join(store.snapshots(), "*"))
		volumes, _ := filepath.Glob(filepath.Join(store.Dir, "[^.]*"))
		if err != nil || len(left)+len(volumes) > 0 {
			t.Errorf("left behind: %v, %v, %v", left, volumes, err)
		}
	}
}

func TestRefusedCopies(t *testing.T) {
	_, _, agent := serve(t)
	local := storage.NodeLocal
	put(t, agent, storage.Volume{Kind: local, ID: "a", Size: 2 << 20})
	put(t, agent, storage.Volume{Kind: local, ID: "b", Size: 1 << 20})
	_, err := agent.PutSnapshot(t.Context(), local, "s", "a")
	must(t, err)
	snapshot := func(id, volume string) error {
		_, err := agent.PutSnapshot(t.Context(), local, id, volume)
		return err
	}
	copyOf := func(source storage.Source, size int64, block bool) error {
		_, err := agent.Put(t.Context(), storage.Volume{Kind: local, ID: "copy", Size: size, Block: block, Source: &source})
		return err
	}
	for name, test := range map[string]struct {
		err  error
		is   error
		says string
	}{
		"no volume":        {snapshot("t", "none"), storage.ErrGone, "local volume none"},
		"another's name":   {snapshot("s", "b"), storage.ErrExists, "snapshot s is one of volume a"},
		"bad name":         {snapshot(".s", "a"), storage.ErrInvalid, "cannot be its name"},
		"bad volume":       {snapshot("t", "../a"), storage.ErrInvalid, "cannot be its name"},
		"no snapshot":      {copyOf(storage.Source{Kind: local, Snapshot: "none"}, 2<<20, false), storage.ErrGone, "local snapshot none"},
		"no source":        {copyOf(storage.Source{Kind: local, Volume: "none"}, 2<<20, false), storage.ErrGone, "local volume none"},
		"outside":          {copyOf(storage.Source{Kind: local, Snapshot: "../a"}, 2<<20, false), storage.ErrInvalid, "cannot be its name"},
		"kind":             {copyOf(storage.Source{Kind: "other", Volume: "a"}, 2<<20, false), storage.ErrInvalid, `kind "other"`},
		"smaller":          {copyOf(storage.Source{Kind: local, Snapshot: "s"}, 1<<20, false), storage.ErrInvalid, "less than the 2097152 of local snapshot s"},
		"other mode":       {copyOf(storage.Source{Kind: local, Volume: "a"}, 2<<20, true), storage.ErrInvalid, "another volumeMode"},
		"no shared volume": {copyOf(storage.Source{Kind: storage.Shared, Volume: "a"}, 2<<20, false), nil, "no shared tree here"},
	} {
		if test.err == nil || !strings.Contains(test.err.Error(), test.says) || test.is != nil && !errors.Is(test.err, test.is) {
			t.Errorf("%s: %v", name, test.err)
		}
	}
}

// A copy goes on when the request for it is over, and the next request finds it. Source and target cannot be deleted under it.
func TestLongCopy(t *testing.T) {
	s, _, agent := serve(t)
	s.Local.copies.patience = time.Millisecond
	put(t, agent, storage.Volume{Kind: storage.NodeLocal, ID: "a", Size: 1})
	put(t, agent, storage.Volume{Kind: storage.NodeLocal, ID: "b", Size: 1})
	lock, err := lockDir(filepath.Join(s.Local.Dir, "a"), unix.LOCK_EX) // for which the copies wait
	must(t, err)
	clone := storage.Volume{Kind: storage.NodeLocal, ID: "c", Size: 1, Source: &storage.Source{Kind: storage.NodeLocal, Volume: "a"}}
	for range 2 {
		snapshot, err := agent.PutSnapshot(t.Context(), storage.NodeLocal, "s", "a")
		if err != nil || snapshot.Ready {
			t.Errorf("snapshot: %+v, %v", snapshot, err)
		}
		if _, err := agent.Put(t.Context(), clone); !errors.Is(err, storage.ErrCopying) {
			t.Errorf("clone: %v", err)
		}
	}
	if _, err := agent.PutSnapshot(t.Context(), storage.NodeLocal, "s", "b"); !errors.Is(err, storage.ErrExists) {
		t.Errorf("the snapshot of another volume: %v", err)
	}
	if list, err := agent.Snapshots(t.Context(), storage.NodeLocal); err != nil || len(list) > 0 {
		t.Errorf("snapshots: %v, %v", list, err)
	}
	must(t, lock.Close())
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		snapshot, err := agent.PutSnapshot(t.Context(), storage.NodeLocal, "s", "a")
		must(t, err)
		_, err = agent.Put(t.Context(), clone)
		if err != nil && !errors.Is(err, storage.ErrCopying) {
			t.Fatal(err)
		}
		if snapshot.Ready && err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the copies do not end")
		}
	}
	reader, err := s.Local.origin(storage.Source{Volume: "a"})
	must(t, err)
	if err := agent.Delete(t.Context(), storage.NodeLocal, "a"); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("delete a volume that is being copied: %v", err)
	}
	must(t, reader.Close())
	reader, err = s.Local.origin(storage.Source{Snapshot: "s"})
	must(t, err)
	if err := agent.DeleteSnapshot(t.Context(), storage.NodeLocal, "s"); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("delete a snapshot that is being copied: %v", err)
	}
	must(t, reader.Close(), agent.Delete(t.Context(), storage.NodeLocal, "a"), agent.DeleteSnapshot(t.Context(), storage.NodeLocal, "s"))
}

func TestCopies(t *testing.T) {
	c := copies{patience: time.Millisecond}
	blocks := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	if err := c.run(t.Context(), "dir", "source", blocks); !errors.Is(err, storage.ErrCopying) {
		t.Errorf("run: %v", err)
	}
	c.cancel("dir")
	if len(c.running) > 0 {
		t.Errorf("running after cancel: %v", c.running)
	}
	failed, broken := make(chan struct{}), errors.New("broken")
	fails := func(context.Context) error { <-failed; return broken }
	if err := c.run(t.Context(), "dir", "source", fails); !errors.Is(err, storage.ErrCopying) {
		t.Errorf("run: %v", err)
	}
	close(failed)
	<-c.running["dir"].done
	if err := c.run(t.Context(), "dir", "source", blocks); !errors.Is(err, broken) { // the error that nobody has seen
		t.Errorf("run: %v", err)
	}
	if err := c.run(t.Context(), "dir", "source", func(context.Context) error { return nil }); err != nil && !errors.Is(err, storage.ErrCopying) {
		t.Errorf("run: %v", err)
	}
	_ = c.run(t.Context(), "other", "source", blocks)
	c.close()
	if err := c.run(t.Context(), "third", "source", blocks); err == nil || errors.Is(err, storage.ErrCopying) {
		t.Errorf("run after close: %v", err)
	}
}

// What a killed process was making counts for nothing, and is removed at the next start; what a living one is making stays.
func TestUnfinishedSnapshots(t *testing.T) {
	s := &Store{Kind: storage.NodeLocal, Dir: t.TempDir(), Quota: &fakeQuota{limits: map[string]int64{}}}
	_, err := s.Put(t.Context(), storage.Volume{ID: "a", Size: 1}, nil)
	must(t, err, os.MkdirAll(filepath.Join(s.snapshots(), newPrefix+"s@1", dataDir, "part"), 0o755),
		writeRecord(filepath.Join(s.snapshots(), newPrefix+"s@1"), record{Size: 1, Volume: "a"}),
		os.MkdirAll(filepath.Join(s.snapshots(), oldPrefix+"t", dataDir), 0o755))
	_, lock, err := newTemp(s.snapshots(), "alive")
	must(t, err)
	defer lock.Close()
	if list, err := s.Snapshots(); err != nil || len(list) > 0 {
		t.Errorf("snapshots: %v, %v", list, err)
	}
	if _, err := s.origin(storage.Source{Snapshot: "s"}); !errors.Is(err, storage.ErrGone) {
		t.Errorf("source: %v", err)
	}
	must(t, s.sweep(t.Context()))
	left, err := filepath.Glob(filepath.Join(s.snapshots(), ".*"))
	if err != nil || len(left) != 1 || !strings.HasPrefix(filepath.Base(left[0]), newPrefix+"alive@") {
		t.Errorf("left: %v, %v", left, err)
	}
	if got, err := s.PutSnapshot(t.Context(), "s", "a"); err != nil || !got.Ready {
		t.Errorf("the same once more: %+v, %v", got, err)
	}
}

// A copy that has no room leaves nothing behind, whether that shows before it or in its middle.
func TestNoRoom(t *testing.T) {
	for name, options := range map[string]string{
		"known before": "size=3m", "little left": "size=4300k", "in the middle": "size=8m,nr_inodes=60",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("none", dir, "tmpfs", 0, options); err != nil {
				t.Skipf("A FULL DISK IS NOT TESTED: cannot mount here: %v", err)
			}
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			quota := &fakeQuota{limits: map[string]int64{}}
			s := &Store{Kind: storage.NodeLocal, Dir: dir, Quota: quota}
			_, err := s.Put(t.Context(), storage.Volume{ID: "a", Size: 2 << 20}, nil)
			must(t, err)
			for i := range 40 {
				must(t, os.WriteFile(filepath.Join(s.data("a"), strings.Repeat("f", i+1)), make([]byte, 50<<10), 0o600))
			}
			_, err = s.PutSnapshot(t.Context(), "s", "a")
			if !errors.Is(err, storage.ErrNoSpace) {
				t.Errorf("snapshot: %v", err)
			}
			_, err = s.Put(t.Context(), storage.Volume{ID: "b", Size: 2 << 20, Source: &storage.Source{Volume: "a"}}, s)
			if !errors.Is(err, storage.ErrNoSpace) {
				t.Errorf("clone: %v", err)
			}
			volumes, err := filepath.Glob(filepath.Join(dir, "*"))
			snapshots, _ := filepath.Glob(filepath.Join(s.snapshots(), "*"))
			if err != nil || len(volumes) != 2 || len(snapshots) > 0 || len(quota.limits) != 1 { // a, and the snapshots' directory
				t.Errorf("left: %v %v, limits %v, %v", volumes, snapshots, quota.limits, err)
			}
		})
	}
}

// TestBlockSnapshot uses real loop devices, which need root: what a pod wrote is in the snapshot, although it did not sync.
func TestBlockSnapshot(t *testing.T) {
	if err := probeLoop(t); err != nil {
		t.Skipf("BLOCK VOLUMES ARE NOT TESTED: they need root and the kernel's loop driver: %v", err)
	}
	s, conn, agent := serve(t)
	put(t, agent, storage.Volume{Kind: storage.NodeLocal, ID: "raw", Size: 8 << 20, Block: true})
	node, target := csi.NewNodeClient(conn), filepath.Join(s.Kubelet, "publish")
	_, err := node.NodePublishVolume(t.Context(), blockRequest("raw", target, csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER))
	must(t, err)
	t.Cleanup(func() {
		_, err := node.NodeUnpublishVolume(context.WithoutCancel(t.Context()), &csi.NodeUnpublishVolumeRequest{VolumeId: "raw", TargetPath: target})
		if err != nil {
			t.Error(err)
		}
	})
	d, err := os.OpenFile(target, os.O_RDWR, 0)
	must(t, err)
	defer d.Close()
	_, err = d.WriteAt([]byte("old"), 4096)
	must(t, err)
	snapshot, err := agent.PutSnapshot(t.Context(), storage.NodeLocal, "s", "raw")
	if err != nil || !snapshot.Block || !snapshot.Ready || len(snapshot.Changed) > 0 {
		t.Fatalf("snapshot: %+v, %v", snapshot, err)
	}
	_, err = d.WriteAt([]byte("new"), 4096)
	must(t, err)
	put(t, agent, storage.Volume{Kind: storage.NodeLocal, ID: "restored", Size: 16 << 20, Block: true, Source: &storage.Source{Kind: storage.NodeLocal, Snapshot: "s"}})
	put(t, agent, storage.Volume{Kind: storage.NodeLocal, ID: "clone", Size: 8 << 20, Block: true, Source: &storage.Source{Kind: storage.NodeLocal, Volume: "raw"}})
	for id, want := range map[string]string{"restored": "old", "clone": "new"} {
		data := content(t, s.Local.image(id))
		if got := data[4096:4099]; got != want {
			t.Errorf("%s holds %q, want %q", id, got, want)
		}
		var st unix.Stat_t
		must(t, unix.Stat(s.Local.image(id), &st))
		if id == "restored" && st.Size != 16<<20 || st.Blocks*512 > 1<<20 {
			t.Errorf("%s has %d bytes and takes %d", id, st.Size, st.Blocks*512)
		}
	}
	_, err = agent.Put(t.Context(), storage.Volume{Kind: storage.NodeLocal, ID: "dir", Size: 8 << 20, Source: &storage.Source{Kind: storage.NodeLocal, Snapshot: "s"}})
	if !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("a device as a directory: %v", err)
	}
}
