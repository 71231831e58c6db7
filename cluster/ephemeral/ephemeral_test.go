package ephemeral

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/kltest/holder"
)

// TestMain makes the test binary a kl, which notes that it has removed clusters, or a process with a terminal.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("KL_TEST_TERMINAL") != "":
		os.Exit(onTerminal(os.Getenv("KL_TEST_TERMINAL")))
	case os.Getenv("KL_TEST_CALLS") == "" || len(os.Args) < 2:
	case os.Args[1] == holder.Command:
		os.Exit(holder.Run(os.Args[0], os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	case os.Args[1] == "down":
		text := strings.Join(os.Args[1:], " ") + " in " + os.Getenv("KL_HOME") + "\n"
		if err := os.WriteFile(os.Getenv("KL_TEST_CALLS"), []byte(text), 0o600); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// onTerminal runs a command on the terminal that this process has, with signals passed on.
func onTerminal(script string) int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	code, err := Command{
		Program: "/bin/sh", Args: []string{"sh", "-c", script}, Environ: os.Environ(), In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Signals: signals,
	}.Run()
	if err != nil {
		panic(err)
	}
	return code
}

// newHome makes a home in a short directory, and returns a file that has the removal of clusters.
func newHome(t *testing.T, o Options) (h *Home, calls string) {
	t.Helper()
	calls = filepath.Join(t.TempDir(), "calls")
	t.Setenv("KL_TEST_CALLS", calls)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o.Program = self
	if h, err = New(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(string(h.Dir)) })
	return h, calls
}

func shortTemp(t *testing.T) string {
	t.Helper()
	temp, err := os.MkdirTemp("/tmp", "kl") //nolint:usetesting // sockets need a shorter path than t.TempDir gives
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) })
	t.Setenv("TMPDIR", temp)
	return temp
}

func TestHome(t *testing.T) {
	temp, payloads := shortTemp(t), cluster.Home(filepath.Join(t.TempDir(), "home"))
	t.Setenv("KUBECONFIG", "/mine")
	h, calls := newHome(t, Options{Payloads: payloads})
	info, err := os.Stat(string(h.Dir))
	if err != nil || info.Mode().Perm() != 0o700 || filepath.Dir(string(h.Dir)) != temp {
		t.Errorf("directory %s: %v, %v", h.Dir, info, err)
	}
	if err := os.MkdirAll(h.Dir.PayloadDir("x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(payloads.PayloadDir("x")); err != nil {
		t.Errorf("payloads are not shared: %v", err)
	}
	environ := h.Environ("")
	for _, want := range []string{"KL_HOME=" + string(h.Dir), "KL_CLUSTER=" + h.Name, "KUBECONFIG=" + h.Kubeconfig()} {
		if !slices.Contains(environ, want) {
			t.Errorf("no %s in %q", want, environ)
		}
	}
	if slices.Contains(environ, "KUBECONFIG=/mine") || !slices.Contains(h.Environ("/other"), "KUBECONFIG=/other") {
		t.Errorf("KUBECONFIG is not replaced in %q", environ)
	}
	if err := h.Remove(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(calls); string(data) != "down --all in "+string(h.Dir)+"\n" {
		t.Errorf("calls of kl are %q, %v", data, err)
	}
	if !h.Dir.Gone() {
		t.Error("the directory is left")
	}
	if _, err := os.Stat(payloads.PayloadDir("x")); err != nil {
		t.Errorf("payloads of the other home went with it: %v", err)
	}
}

func TestTwoHomesDiffer(t *testing.T) {
	shortTemp(t)
	one, _ := newHome(t, Options{})
	two, _ := newHome(t, Options{Name: "two"})
	if one.Dir == two.Dir || one.Name == two.Name || cluster.CheckName(one.Name) != nil || two.Name != "two" {
		t.Errorf("homes %s and %s of clusters %s and %s", one.Dir, two.Dir, one.Name, two.Name)
	}
	for _, h := range []*Home{one, two} {
		if err := h.Remove(); err != nil {
			t.Error(err)
		}
	}
}

func TestKeep(t *testing.T) {
	shortTemp(t)
	h, calls := newHome(t, Options{})
	if err := h.Keep(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(calls); !errors.Is(err, fs.ErrNotExist) || h.Dir.Gone() {
		t.Errorf("calls of kl are %q, %v; the directory is gone: %t", data, err, h.Dir.Gone())
	}
}

// TestLongTemp takes /tmp where the paths of sockets would be too long.
func TestLongTemp(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 20))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	h, _ := newHome(t, Options{})
	if left, err := os.ReadDir(long); filepath.Dir(string(h.Dir)) != "/tmp" || len(left) != 0 || err != nil {
		t.Errorf("directory %s, in the other one are %v, %v", h.Dir, left, err)
	}
	if err := h.Remove(); err != nil {
		t.Error(err)
	}
}

// TestPayloadsThatCannotBeShared gives a home payloads of its own.
func TestPayloadsThatCannotBeShared(t *testing.T) {
	shortTemp(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h, _ := newHome(t, Options{Payloads: cluster.Home(file)})
	if _, err := os.Lstat(filepath.Dir(h.Dir.PayloadDir("x"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory of payloads: %v", err)
	}
	if err := h.Remove(); err != nil {
		t.Error(err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"program": 0o700, "text": 0o600, "lost": 0o700} {
		text := "#!/bin/sh\n"
		if name == "lost" {
			text = "#! /no/such/shell -e\n"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	for _, tt := range []struct {
		name, want string
		code       int
		says       string
	}{
		{name: "program", want: dir + "/program"},
		{name: dir + "/program", want: dir + "/program"},
		{name: "kubectl", want: "kubectl"},
		{name: "kl", want: "kl"},
		{name: "missing", code: 127, says: `run "missing": there is no such program in $PATH`},
		{name: dir + "/missing", code: 127, says: `run "` + dir + `/missing": no such file or directory`},
		{name: dir + "/text", code: 126, says: `run "` + dir + `/text": permission denied`},
		{name: dir, code: 126, says: `run "` + dir + `": is a directory`},
		{name: "lost", code: 127, says: `run "lost": its interpreter /no/such/shell: no such file or directory`},
	} {
		got, err := Find(tt.name)
		var refused *NotRunnableError
		switch {
		case tt.code == 0 && (err != nil || got != tt.want):
			t.Errorf("%s is found at %q, %v; want %s", tt.name, got, err, tt.want)
		case tt.code != 0 && (!errors.As(err, &refused) || refused.Code != tt.code || err.Error() != tt.says):
			t.Errorf("%s: %v, want code %d and %q", tt.name, err, tt.code, tt.says)
		}
	}
}

func shell(script string) Command {
	return Command{Program: "/bin/sh", Args: []string{"sh", "-c", script}, Environ: os.Environ(), Out: io.Discard, Err: io.Discard}
}

func TestExitCodes(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain") // as execvp(3) runs it
	if err := os.WriteFile(plain, []byte("exit $1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGPIPE) // as package cmd does
	defer signal.Reset(syscall.SIGPIPE)
	for _, tt := range []struct {
		name string
		c    Command
		code int
	}{
		{"success", shell("exit 0"), 0},
		{"failure", shell("exit 42"), 42},
		{"killed", shell("kill -KILL $$"), 128 + 9},
		{"broken pipe", shell("kill -PIPE $$; exit 1"), 128 + 13},
		{"no interpreter", Command{Program: plain, Args: []string{"plain", "7"}, Environ: os.Environ()}, 7},
	} {
		if code, err := tt.c.Run(); code != tt.code || err != nil {
			t.Errorf("%s: exit code %d, %v; want %d", tt.name, code, err, tt.code)
		}
	}
	_, err := Command{Program: "/no/such", Args: []string{"such"}}.Run()
	var refused *NotRunnableError
	if !errors.As(err, &refused) || refused.Code != CodeNotFound {
		t.Errorf("a program that has gone since: %v", err)
	}
}

// TestBackgroundChildren has a child that keeps the streams open.
func TestBackgroundChildren(t *testing.T) {
	c := shell("sleep 1000 & echo $!")
	var out bytes.Buffer
	c.Out = &out
	began := time.Now()
	if code, err := c.Run(); code != 0 || err != nil || time.Since(began) > 30*time.Second {
		t.Errorf("exit code %d, %v, after %s", code, err, time.Since(began))
	}
	var pid int
	if _, err := fmt.Sscan(out.String(), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the child is gone: %v", err)
	}
}

// waitFor reads lines until one is what it waits for.
func waitFor(t *testing.T, r io.Reader, want string) string {
	t.Helper()
	var text []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(text), want+"\n") && !strings.HasSuffix(string(text), want+"\r\n"); text = append(text, one[0]) {
		if _, err := r.Read(one); err != nil {
			t.Fatalf("no %q in %q: %v", want, text, err)
		}
	}
	return string(text)
}

func TestSignals(t *testing.T) {
	for name, s := range map[string]syscall.Signal{
		"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			signals := make(chan os.Signal, 1)
			c := shell("trap 'exit 9' " + name + "; echo ready; while :; do sleep 0.01; done")
			c.Out, c.Signals = w, signals
			go func() {
				waitFor(t, r, "ready")
				signals <- s
			}()
			code, err := c.Run()
			w.Close()
			if code != 9 || err != nil {
				t.Errorf("exit code %d, %v", code, err)
			}
		})
	}
}

// TestTerminal presses Ctrl-C, which the terminal sends to the command itself, and has another process send signals.
func TestTerminal(t *testing.T) {
	start := func(t *testing.T) (*exec.Cmd, *os.File) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "KL_TEST_TERMINAL=trap 'echo interrupted; n=$((n+1))' INT; trap 'exit $n' TERM; n=0; echo ready; while :; do sleep 0.05; done")
		terminal, err := pty.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { terminal.Close() })
		waitFor(t, terminal, "ready")
		return cmd, terminal
	}
	cmd, terminal := start(t)
	for range 2 {
		if _, err := terminal.Write([]byte{3}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, terminal, "interrupted")
	}
	time.Sleep(200 * time.Millisecond) // a signal that came twice would be counted by now
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, terminal) }()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("two Ctrl-C and a SIGTERM: %v, want the number of interrupts as the exit code", err)
	}
}

// TestKilled kills the process that runs a command.
func TestKilled(t *testing.T) {
	if endsWithParent() == nil {
		t.Skip("SKIPPED: a command whose kl is killed: needs Linux")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "KL_TEST_TERMINAL=trap 'echo told; exit' TERM; echo ready; while :; do sleep 0.01; done")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	waitFor(t, r, "ready")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, r, "told")
	_ = cmd.Wait()
}
