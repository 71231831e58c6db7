//go:build e2e

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"
)

// BenchmarkUI measures the dashboard, as a process on a terminal of 200×60, with a real API server, 1,000 simulated nodes
// and 5,000 pods: from its start to the first full list of pods, from a key to the next frame, in a quiet cluster and while
// 500 pods are replaced, and its memory.
//
//	make build && go test -tags e2e -run '^$' -bench UI -benchtime 1x ./cmd/kl
func BenchmarkUI(b *testing.B) {
	for b.Loop() {
		u := newUser(b)
		u.klPlain("up", "--nodes", "0", "--simulated", "1000", "--ephemeral", "--timeout", "5m")
		manifest := filepath.Join(u.home, "crowd.yaml")
		if err := os.WriteFile(manifest, []byte(crowdManifest(5000)), 0o600); err != nil {
			b.Fatal(err)
		}
		allRun := u.watchRunning(5000)
		u.kl("kubectl", "apply", "-f", manifest)
		allRun()
		u.dashboard(5000).publish("the dashboard, 1000 nodes")
		u.kl("down")
	}
}

// dashboard measures it in a cluster with so many pods.
func (u *user) dashboard(pods int) *results {
	var first []time.Duration
	for range 3 {
		t := u.openUI("--screen", "workloads")
		first = append(first, t.sees(regexp.MustCompile(`50\d\d pods`)))
		t.end()
	}
	t := u.openUI("--screen", "workloads")
	defer t.end()
	t.sees(regexp.MustCompile(`50\d\d pods`))
	<-time.After(3 * time.Second) // the first metrics arrive
	quiet := t.pressAll(200)
	u.kl("kubectl", "rollout", "restart", "deployment/crowd-0")
	busy := t.pressAll(400)
	memory := anonymousMemory([]string{strconv.Itoa(t.cmd.Process.Pid)})
	r := u.results()
	r.times(fmt.Sprintf("ui/list/pods=%d", pods), first...)
	r.times("ui/frame/meanwhile=nothing", quiet...)
	r.times("ui/frame/meanwhile=500_pods_are_replaced", busy...)
	r.sizes("ui/memory", memory)
	return r
}

// uiTerminal is a terminal with the dashboard in it.
type uiTerminal struct {
	u     *user
	cmd   *exec.Cmd
	file  *os.File
	began time.Time

	mu   sync.Mutex
	got  []byte
	more chan struct{} // closed, and replaced, when got grows
}

func (u *user) openUI(args ...string) *uiTerminal {
	u.b.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		u.b.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		u.b.Fatal(err)
	}
	_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	_ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 60, Col: 200})
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		u.b.Fatal(err)
	}
	defer terminal.Close()
	t := &uiTerminal{u: u, file: master, more: make(chan struct{}), cmd: u.command(u.h.kl, append([]string{"ui", "--name", u.cluster}, args...)...)}
	t.cmd.Env = append(t.cmd.Env, "TERM=xterm-256color", "COLORTERM=truecolor")
	t.cmd.Stdin, t.cmd.Stdout, t.cmd.Stderr = terminal, terminal, terminal
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	t.began = time.Now()
	if err := t.cmd.Start(); err != nil {
		u.b.Fatal(err)
	}
	go t.read()
	return t
}

func (t *uiTerminal) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := t.file.Read(buf)
		if err != nil {
			return
		}
		t.mu.Lock()
		t.got = append(t.got, buf[:n]...)
		close(t.more)
		t.more = make(chan struct{})
		t.mu.Unlock()
	}
}

// sees waits for the program to write some text and returns how long that took from its start or the last key.
func (t *uiTerminal) sees(what *regexp.Regexp) time.Duration {
	t.u.b.Helper()
	limit := time.After(time.Minute)
	for {
		t.mu.Lock()
		got, more := bytes.Clone(t.got), t.more
		t.mu.Unlock()
		if what.MatchString(ansi.Strip(string(got))) {
			return time.Since(t.began)
		}
		select {
		case <-more:
		case <-limit:
			t.u.b.Fatalf("%s never appeared; the last was\n%q", what, got[max(0, len(got)-2000):])
		}
	}
}

// pressAll presses n keys and returns how long each took to show an effect: the line of screens for a key that opens a
// screen, a row with the cursor for one that moves it.
func (t *uiTerminal) pressAll(n int) []time.Duration {
	screens, cursor := regexp.MustCompile(`1 Overview`), regexp.MustCompile(`▌`)
	keys := []struct {
		key    string
		answer *regexp.Regexp
	}{{"2", screens}, {"j", cursor}, {"k", cursor}, {"3", screens}, {"4", screens}, {"6", screens}, {"G", cursor}, {"g", cursor}, {"5", screens},
		{"G", cursor}, {"k", cursor}, {"g", cursor}, {"j", cursor}, {"1", screens}}
	var took []time.Duration
	for i := range n {
		k := keys[i%len(keys)]
		t.mu.Lock()
		t.got = nil
		t.mu.Unlock()
		t.began = time.Now()
		if _, err := t.file.WriteString(k.key); err != nil {
			t.u.b.Fatal(err)
		}
		took = append(took, t.sees(k.answer))
		<-time.After(30 * time.Millisecond)
	}
	return took
}

func (t *uiTerminal) end() {
	_, _ = t.file.WriteString("q")
	if err := t.cmd.Wait(); err != nil {
		t.u.b.Errorf("kl ui: %v", err)
	}
	t.file.Close()
}
