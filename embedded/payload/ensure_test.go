package payload

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

func TestEnsure(t *testing.T) {
	s := Store{Home: cluster.Home(t.TempDir())}
	src := pack(t, good())
	p, err := s.ensure(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	if p.SHA != src.sha || p.Dir != s.Home.PayloadDir(src.sha) || p.Rootfs != filepath.Join(p.Dir, "rootfs") {
		t.Errorf("payload is %+v", p)
	}
	if err := Verify(p.Dir); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Dir(p.Dir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("payload directory: %v, %v; want 0700", info.Mode(), err)
	}
	src.open = func() (io.ReadCloser, error) { t.Error("unpacked a second time"); return nil, fs.ErrInvalid }
	if _, err := s.ensure(t.Context(), src); err != nil {
		t.Error(err)
	}
}

func TestEnsureUnpacksADamagedPayloadAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(dir string) error
	}{
		{"marker missing", func(d string) error { return os.Remove(d + "/" + markerName) }},
		{"marker cut", func(d string) error { return os.Truncate(d+"/"+markerName, 10) }},
		{"file missing", func(d string) error { return os.Remove(d + "/rootfs/usr/bin/sh") }},
		{"file cut", func(d string) error { return os.Truncate(d+"/rootfs/usr/large", 5) }},
		{"file replaced by a link", func(d string) error {
			return errors.Join(os.Remove(d+"/rootfs/usr/bin/sh"), os.Symlink("large", d+"/rootfs/usr/bin/sh"))
		}},
		{"read-only directory", func(d string) error {
			return errors.Join(os.Remove(d+"/"+markerName), os.Chmod(d+"/rootfs/usr", 0o500))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Store{Home: cluster.Home(t.TempDir())}
			src := pack(t, good())
			p, err := s.ensure(t.Context(), src)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.damage(p.Dir); err != nil {
				t.Fatal(err)
			}
			if _, err := s.ensure(t.Context(), src); err != nil {
				t.Fatal(err)
			}
			if err := Verify(p.Dir); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEnsureByManyAtOnceUnpacksOnce(t *testing.T) {
	s := Store{Home: cluster.Home(t.TempDir())}
	src := pack(t, good())
	open := src.open
	var opened atomic.Int32
	src.open = func() (io.ReadCloser, error) { opened.Add(1); return open() }
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			p, err := s.ensure(t.Context(), src)
			if err == nil {
				err = Verify(p.Dir)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := opened.Load(); n != 1 {
		t.Errorf("unpacked %d times", n)
	}
}

// A failed unpacking leaves no directory, and the next one removes what a killed one left.
func TestEnsureLeavesNothingBehind(t *testing.T) {
	s := Store{Home: cluster.Home(t.TempDir())}
	src := pack(t, good())
	bad := source{sha: src.sha, open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("bad")), nil }}
	_, err := s.ensure(t.Context(), bad)
	var e *cluster.Error
	if !errors.As(err, &e) || !strings.Contains(e.Op, src.sha) || e.Hint != "" {
		t.Errorf("ensure: %#v, want a cluster.Error that names the directory, without a hint", err)
	}
	parent := filepath.Dir(s.Home.PayloadDir(src.sha))
	if err := os.MkdirAll(filepath.Join(parent, tempPrefix+"killed", "rootfs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ensure(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, parent), []string{src.sha, "lock"}; !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

func TestEnsureDiskFull(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, errSpace} {
		s := Store{Home: cluster.Home(t.TempDir())}
		src := source{sha: strings.Repeat("a", 64), open: func() (io.ReadCloser, error) {
			return nil, &fs.PathError{Op: "write", Path: "x", Err: cause}
		}}
		_, err := s.ensure(t.Context(), src)
		var e *cluster.Error
		if !errors.As(err, &e) || !strings.Contains(e.Hint, "disk space") {
			t.Errorf("ensure: %v, want a hint about disk space", err)
		}
	}
	if err := checkSpace(t.TempDir(), 1<<60); !errors.Is(err, errSpace) {
		t.Errorf("checkSpace: %v, want %v", err, errSpace)
	}
}

func TestEnsureWaitsForLock(t *testing.T) {
	home := cluster.Home(t.TempDir())
	src := pack(t, good())
	parent := filepath.Dir(home.PayloadDir(src.sha))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := statefile.TryLock(filepath.Join(parent, lockName))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (Store{Home: home}).ensure(ctx, src); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ensure while locked: %v, want %v", err, context.DeadlineExceeded)
	}
	lock.Unlock()
	if _, err := (Store{Home: home}).ensure(t.Context(), src); err != nil {
		t.Error(err)
	}
}

func TestPrune(t *testing.T) {
	home := cluster.Home(t.TempDir())
	if removed, err := Prune(t.Context(), home, nil, 0); err != nil || removed != nil {
		t.Errorf("Prune of nothing: %v, %v", removed, err)
	}
	s := Store{Home: home}
	kept, fresh := pack(t, good()), pack(t, []entry{dir("rootfs"), regular("rootfs/fresh", "x")})
	old := pack(t, []entry{dir("rootfs"), regular("rootfs/old", "x")})
	long := time.Now().Add(-2 * time.Hour)
	for _, src := range []source{kept, fresh, old} {
		p, err := s.ensure(t.Context(), src)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(p.Dir, markerName), long, long); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.ensure(t.Context(), fresh); err != nil { // records the use
		t.Fatal(err)
	}
	removed, err := Prune(t.Context(), home, []string{kept.sha}, time.Hour)
	if err != nil || !slices.Equal(removed, []string{old.sha}) {
		t.Errorf("Prune removed %v, %v; want %v", removed, err, old.sha)
	}
	want := []string{kept.sha, fresh.sha, lockName}
	slices.Sort(want)
	if got := names(t, filepath.Dir(home.PayloadDir("x"))); !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

func BenchmarkEnsureUnpacked(b *testing.B) {
	dir := os.Getenv("KL_BENCH_PAYLOAD") // a directory with payload.tar.zst
	if dir == "" {
		b.Skip("KL_BENCH_PAYLOAD is not set")
	}
	src, err := fileSource(dir)
	if err != nil {
		b.Fatal(err)
	}
	s := Store{Home: cluster.Home(b.TempDir())}
	for b.Loop() {
		if _, err := s.ensure(b.Context(), src); err != nil {
			b.Fatal(err)
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}
