//go:build linux

package native

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestWaitExit(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	limited, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := waitExit(limited, pid); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the process runs: %v, want the error of ctx", err)
	}
	if _, ok := startTime(pid); !ok {
		t.Error("a process that runs has no start time")
	}
	stdin.Close()
	if err := waitExit(t.Context(), pid); err != nil { // not reaped yet
		t.Errorf("after its end: %v", err)
	}
	if _, ok := startTime(pid); ok {
		t.Error("a zombie has a start time")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := waitExit(t.Context(), pid); err != nil {
		t.Errorf("of a process that does not exist: %v", err)
	}
	if a, ok := startTime(os.Getpid()); !ok || a == 0 {
		t.Errorf("this process started at %d, %t", a, ok)
	}
}
