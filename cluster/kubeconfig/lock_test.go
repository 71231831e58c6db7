package kubeconfig_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/kubeconfig"
	"github.com/klkube/kl/cluster/statefile"
)

// What a kl that was killed has left of its lock is taken over at once and goes; one that lives is waited for, as is kubectl.
func TestLock(t *testing.T) {
	l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
	lock := path + ".lock"
	merge := func() time.Duration {
		t.Helper()
		began := time.Now()
		if _, err := kubeconfig.Merge(t.Context(), l, path, true); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(lock); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the lock is left: %v", err)
		}
		return time.Since(began)
	}
	other, err := statefile.TryLock(lock)
	if err != nil {
		t.Fatal(err)
	}
	const held = 300 * time.Millisecond
	time.AfterFunc(held, other.Unlock) // which leaves the file
	if took := merge(); took < held {
		t.Errorf("it took %s although another process had the lock", took)
	}
	if err := os.WriteFile(lock, nil, 0); err != nil { // kubectl's
		t.Fatal(err)
	}
	time.AfterFunc(held, func() { os.Remove(lock) })
	if took := merge(); took < held {
		t.Errorf("it took %s although kubectl had the lock", took)
	}
	if err := os.WriteFile(lock, nil, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := kubeconfig.Merge(ctx, l, path, true); err == nil || !strings.Contains(err.Error(), "lock kubeconfig "+path) {
		t.Errorf("error with kubectl's lock is %v", err)
	}
}

// While kubectl has the lock nobody else changes the file, however many want to, and kubectl gets its turn.
func TestLockBesideKubectl(t *testing.T) {
	l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
	lock := path + ".lock"
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := kubeconfig.Merge(t.Context(), l, path, true); err != nil {
					t.Error(err)
				}
				for _, err := range kubeconfig.Forget(t.Context(), l, []string{path}) {
					t.Error(err)
				}
			}
		})
	}
	for turns := 0; turns < 20; {
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL, 0) // as clientcmd, which fails if somebody has it
		if err != nil {
			continue
		}
		f.Close()
		turns++
		before, err := os.ReadFile(path)
		<-time.After(time.Millisecond)
		after, _ := os.ReadFile(path)
		if err == nil && !bytes.Equal(before, after) {
			t.Error("the file was changed under kubectl's lock")
		}
		if err := os.Remove(lock); err != nil {
			t.Errorf("kubectl's lock was taken away: %v", err)
		}
	}
	close(done)
	wg.Wait()
}
