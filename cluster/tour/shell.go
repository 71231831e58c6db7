package tour

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxOutput is how much of a command's output is kept, in bytes: its end.
const maxOutput = 256 << 10

// environment is the file that defines what a scenario's commands use. A person reads it into a shell to type along.
const environment = "env"

// writeEnvironment is the text of the file.
func environmentOf(t Target, values map[string]string) string {
	var b strings.Builder
	function := func(name string, argv []string) {
		if len(argv) == 0 {
			return
		}
		b.WriteString(name + "() {")
		for _, arg := range argv {
			b.WriteString(" " + quote(arg))
		}
		b.WriteString(` "$@"; }` + "\n")
	}
	for _, entry := range t.Env {
		name, value, _ := strings.Cut(entry, "=")
		b.WriteString("export " + name + "=" + quote(value) + "\n")
	}
	b.WriteString("NS=" + quote(values["NS"]) + "\n")
	function("kubectl", t.Kubectl)
	function("kl", t.Kl)
	return b.String()
}

// quote makes a text one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// tail keeps the end of what is written, and passes on complete lines. Two streams of a command may write to it.
type tail struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	rest []byte
	line func(string) // nil for none
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if extra := t.buf.Len() - maxOutput; extra > 0 {
		t.buf.Next(extra)
	}
	if t.line != nil {
		t.rest = append(t.rest, p...)
		for {
			line, rest, ok := bytes.Cut(t.rest, []byte("\n"))
			if !ok {
				break
			}
			t.line(string(line))
			t.rest = rest
		}
		t.rest = t.rest[max(0, len(t.rest)-maxOutput):]
	}
	return len(p), nil
}

// flush passes on the last line, which nothing ended.
func (t *tail) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.line != nil && len(t.rest) > 0 {
		t.line(string(t.rest))
		t.rest = nil
	}
}

// sh runs a command in a directory that has an environment file, and ends all of its processes when ctx ends or after timeout.
func sh(ctx context.Context, dir, command string, timeout time.Duration, line func(string)) outcome {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done after %s", timeout))
	defer cancel()
	t := &tail{line: line}
	cmd := exec.CommandContext(ctx, "sh", "-euc", ". ./"+environment+"\n"+command)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, t, t, os.Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	t.flush()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // what it started in the background holds its output
	}
	return outcome{t.buf.String(), err}
}
