package statefile_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/klkube/kl/cluster/statefile"
)

// TestLookingDoesNotLock takes a lock again and again while others look whether it is taken.
func TestLookingDoesNotLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := statefile.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Unlock()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := statefile.Locked(path); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 2000 {
		l, err := statefile.TryLock(path)
		if err != nil {
			t.Errorf("attempt %d: %v, though nobody has the lock", i, err)
			break
		}
		l.Unlock()
	}
	close(done)
	wg.Wait()
}
