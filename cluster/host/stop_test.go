package host

import (
	"bufio"
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A supervisor that has just been started loses the signal by which an interrupted up ends it. It must not live on for that.
func TestAKillSignalThatComesTooEarly(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "trap '' USR1; echo starting; sleep 0.3; trap 'exit 0' USR1; while :; do sleep 0.05; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p := &process{pid: cmd.Process.Pid, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.exited)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := p.stop(ctx, killSignal, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the supervisor has not ended by itself: %v", cmd.ProcessState)
	}
}
