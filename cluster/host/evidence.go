package host

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

const (
	maxEvidence   = 4 << 20 // bytes of the log that are searched for a panic: it is followed by the stacks of all goroutines
	maxLogLine    = 400     // bytes of a line that are kept
	maxReasonSize = 1000    // bytes
)

// evidence is what was known when a control plane started, to find out later what it died of.
type evidence struct {
	layout   cluster.Layout
	logSize  int64 // the process's own output comes after it
	oomKills string
}

func newEvidence(l cluster.Layout) evidence {
	e := evidence{layout: l, oomKills: oomKills()}
	if info, err := os.Stat(l.LogFile(cluster.ControlPlane)); err == nil {
		e.logSize = info.Size()
	}
	return e
}

// crash explains the end of the process: by the reason that it left behind, a panic in its log, or how it ended.
func (e evidence) crash(err error) *cluster.Crash {
	c := &cluster.Crash{Time: time.Now(), Reason: err.Error(), Log: tail(e.layout.LogFile(cluster.ControlPlane))}
	panicked := e.panic()
	var exit *exec.ExitError
	status := syscall.WaitStatus(0)
	if errors.As(err, &exit) {
		status, _ = exit.Sys().(syscall.WaitStatus)
	}
	switch reason := readReason(e.layout); {
	case reason != "":
		c.Reason = reason
	case len(panicked) > 0:
		c.Reason, c.Log = panicked[0], panicked
	case status.Signaled() && status.Signal() == syscall.SIGKILL && e.oomKills != oomKills():
		c.Reason = "killed (SIGKILL), for lack of memory: the kernel killed a process"
	case status.Signaled():
		c.Reason = fmt.Sprintf("killed (%s)", signalName(status.Signal()))
	}
	c.Reason = statefile.Shorten(c.Reason, maxReasonSize)
	c.Log = slices.Clone(c.Log)
	for i := range c.Log {
		c.Log[i] = statefile.Shorten(c.Log[i], maxLogLine)
	}
	return c
}

func signalName(s syscall.Signal) string {
	names := map[syscall.Signal]string{
		syscall.SIGKILL: "SIGKILL", syscall.SIGABRT: "SIGABRT", syscall.SIGSEGV: "SIGSEGV", syscall.SIGBUS: "SIGBUS", syscall.SIGQUIT: "SIGQUIT",
	}
	return cmp.Or(names[s], s.String())
}

// panic returns the first lines of the panic, or of the runtime's fatal error, that the process wrote; none if it wrote none.
func (e evidence) panic() []string {
	f, err := statefile.Open(e.layout.LogFile(cluster.ControlPlane))
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	from := e.logSize
	if info.Size() < from { // it was cut meanwhile
		from = 0
	}
	data, err := io.ReadAll(io.NewSectionReader(f, from, maxEvidence))
	if err != nil {
		return nil
	}
	lines := strings.Split(string(bytes.TrimRight(data, "\n")), "\n")
	i := slices.IndexFunc(lines, func(line string) bool {
		return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
	})
	if i < 0 {
		return nil
	}
	return lines[i:min(len(lines), i+logLines)]
}

// oomKills is how many processes the kernel has killed for lack of memory; empty if unknown.
func oomKills() string {
	data, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strings.TrimSpace(n)
		}
	}
	return ""
}
