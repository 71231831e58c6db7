package kltest

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestOwner is not a test: it is the process that owns a control plane in TestTheOwnerEnds and ends as that wants.
func TestOwner(t *testing.T) {
	end := os.Getenv("KL_TEST_OWNER_ENDS")
	if end == "" {
		t.Skip("run by TestTheOwnerEnds")
	}
	if _, err := Start(t.Context(), Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stdout.WriteString("started\n"); err != nil {
		t.Fatal(err)
	}
	switch end {
	case "exit":
		os.Exit(3)
	case "panic": // as the time limit of go test does
		go panic("the test runs too long")
	}
	<-make(chan int)
}

// ownersEnds are the ways in which a process ends that cannot clean up.
var ownersEnds = []struct {
	name   string
	signal syscall.Signal // sent to the owner's process group; 0 if it ends by itself
}{
	{name: "exit"},
	{name: "panic"},
	{name: "kill", signal: syscall.SIGKILL},
	{name: "Ctrl-C", signal: syscall.SIGINT},
}

// runOwner runs TestOwner in a process of its own until that has ended. With a signal it waits for the moment to send it.
func runOwner(t *testing.T, end string, signal syscall.Signal, moment func(out *bufio.Reader), args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append(args, "-test.run=^TestOwner$", "-test.v")...)
	cmd.Env = append(os.Environ(), "KL_TEST_OWNER_ENDS="+end)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	moment(bufio.NewReader(out))
	if signal != 0 {
		if err := syscall.Kill(-cmd.Process.Pid, signal); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Errorf("the owner has not ended as it should:\n%s", log.String())
	}
}

// started waits for the line of an owner whose control plane is up.
func started(t *testing.T) func(*bufio.Reader) {
	return func(out *bufio.Reader) {
		t.Helper()
		for {
			line, err := out.ReadString('\n')
			if err != nil {
				t.Fatalf("the owner has not started a control plane: %v", err)
			}
			if line == "started\n" {
				return
			}
		}
	}
}

func TestTheOwnerEnds(t *testing.T) {
	for _, tt := range ownersEnds {
		t.Run(tt.name, func(t *testing.T) {
			calls := useFake(t, "")
			runOwner(t, tt.name, tt.signal, started(t))
			eventually(t, "the cluster is removed", func() bool { return verbs(t, calls) == "up down" && nothingLeft(t) })
		})
	}
	t.Run("time limit", func(t *testing.T) {
		calls := useFake(t, "")
		runOwner(t, "time limit", 0, started(t), "-test.timeout=2s")
		eventually(t, "the cluster is removed", func() bool { return verbs(t, calls) == "up down" && nothingLeft(t) })
	})
	t.Run("while it starts", func(t *testing.T) {
		calls := useFake(t, "waits")
		runOwner(t, "kill", syscall.SIGKILL, func(*bufio.Reader) {
			eventually(t, "up is called", func() bool { return verbs(t, calls) == "up" })
		})
		eventually(t, "the cluster is removed", func() bool { return verbs(t, calls) == "up interrupted down" && nothingLeft(t) })
	})
}
