package layers

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
)

// TestAddOnFullDisk: a layer that the disk has no room for leaves nothing, and the store takes the next one.
func TestAddOnFullDisk(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := mount.All([]mount.Mount{{Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m"}}}, dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.UnmountAll(dir, 0); err != nil {
			t.Error(err)
		}
	})
	store, err := Open(dir, "n1")
	if err != nil {
		t.Fatal(err)
	}
	large, small := newLayer(t, map[string]string{"large": strings.Repeat("x", 2<<20)}), newLayer(t, map[string]string{"small": "x"})
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	err = store.Add(t.Context(), logger, large.id(), nil, bytes.NewReader(large))
	if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("a layer of 2 MB on a disk of 1 MB: %v", err)
	}
	if list, err := store.List(); err != nil || len(list) > 0 {
		t.Errorf("it left %v, %v", list, err)
	}
	if left, err := os.ReadDir(store.unfinished()); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	if err := store.Add(t.Context(), logger, small.id(), nil, bytes.NewReader(small)); err != nil {
		t.Errorf("a small layer after that: %v", err)
	}
	store.Settle(logger, small.id()) // what Add has begun
}
