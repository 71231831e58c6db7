package statefile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/statefile"
)

func ExampleTryLock() {
	dir, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(dir)
	first, err := statefile.TryLock(filepath.Join(dir, "lock"))
	fmt.Println(err)
	_, err = statefile.TryLock(filepath.Join(dir, "lock"))
	fmt.Println(err)
	first.Unlock()
	// Output:
	// <nil>
	// locked by another process
}

func TestLockOfFileAndDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		path string
		try  func(string) (*statefile.Lock, error)
	}{"file": {filepath.Join(dir, "lock"), statefile.TryLock}, "directory": {dir, statefile.TryLockDir}} {
		t.Run(name, func(t *testing.T) {
			path := c.path
			l, err := c.try(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.try(path); !errors.Is(err, statefile.ErrLocked) {
				t.Errorf("a second TryLock returned %v, want ErrLocked", err)
			}
			if locked, err := statefile.Locked(path); !locked || err != nil {
				t.Errorf("Locked is %t (%v), want true", locked, err)
			}
			l.Unlock()
			if locked, err := statefile.Locked(path); locked || err != nil {
				t.Errorf("Locked is %t (%v) after Unlock, want false", locked, err)
			}
		})
	}
}

func TestWaitLockWaitsAndGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := statefile.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause, asked := errors.New("too slow"), 0
	_, err = statefile.WaitLock(ctx, path, func() bool {
		if asked++; asked == 3 {
			cancel(cause)
		}
		return asked == 3
	})
	if !errors.Is(err, cause) || asked != 3 {
		t.Errorf("WaitLock returned %v after %d calls of waiting, want the cause after three", err, asked)
	}
	got := make(chan error)
	go func() {
		l, err := statefile.WaitLock(t.Context(), path, func() bool { got <- nil; return true })
		if err == nil {
			l.Remove()
		}
		got <- err
	}()
	<-got // it waits
	held.Unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there after Remove: %v", err)
	}
}

func TestLockOfADirectoryThatIsMissing(t *testing.T) {
	if _, err := statefile.TryLockDir(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("TryLockDir returned %v, want fs.ErrNotExist", err)
	}
}

// A look at a lock, which shares it for a moment, does not turn away the process that the lock is for.
func TestClaimOutwaitsALook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	look, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(look.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	if _, err := statefile.TryLock(path); !errors.Is(err, statefile.ErrLocked) {
		t.Errorf("TryLock: %v, want ErrLocked", err)
	}
	time.AfterFunc(20*time.Millisecond, func() { look.Close() })
	l, err := statefile.Claim(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := statefile.Claim(path); !errors.Is(err, statefile.ErrLocked) {
		t.Errorf("Claim of a lock that stays taken: %v, want ErrLocked", err)
	}
	l.Unlock()
}
