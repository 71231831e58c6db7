package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays all programs of a node: kl-init, the container engine that starts it, and under the name kl-engine
// the programs that it runs.
func TestMain(m *testing.M) {
	var err error
	switch {
	case filepath.Base(os.Args[0]) == "kl-engine":
		err = fakeEngine(os.Args[1])
	case os.Getenv("KL_TEST_ROOT") != "":
		if err = enterRoot(os.Getenv("KL_TEST_ROOT")); err == nil {
			main()
			return
		}
	case os.Getenv("KL_TEST_MAIN") != "":
		main()
		return
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// events is the file in which the fake programs record what they do, below the root of the node.
const events = "/kl/node/events"

func record(text string) error {
	f, err := os.OpenFile(events, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%d %s\n", time.Now().UnixMilli(), text)
	return err
}

// fakeEngine is a program of the node. "containerd" runs until it is told to stop. "node" ends at once the first two times;
// the third time it leaves an orphan, waits until the orphan has ended and been reaped, and then runs on.
func fakeEngine(role string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if role == "orphan" { // the child of a process that has ended
		return nil
	}
	if role == "parent" {
		return exec.Command(os.Args[0], "orphan").Start()
	}
	if err := record(role + " started"); err != nil {
		return err
	}
	if role == "node" {
		text, err := os.ReadFile(events)
		if err != nil {
			return err
		}
		if strings.Count(string(text), "node started") < 3 {
			os.Exit(7)
		}
		if err := exec.Command(os.Args[0], "parent").Run(); err != nil {
			return err
		}
		if err := awaitNoOther("orphan"); err != nil {
			return err
		}
		if err := record("orphan reaped"); err != nil {
			return err
		}
	}
	<-stop
	return record(role + " stopped")
}

// awaitNoOther waits until no process, dead or alive, has the argument.
func awaitNoOther(arg string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(10 * time.Second); ; {
		left, err := processes(arg)
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-limit:
			return fmt.Errorf("%d processes are not reaped", left)
		}
	}
}

// processes counts the processes that have ended and are not reaped, and those with the argument.
func processes(arg string) (n int, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	for _, path := range stats {
		stat, _ := os.ReadFile(path) // of a process that is gone: empty
		_, state, _ := strings.Cut(string(stat), ") ")
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if strings.HasPrefix(state, "Z") || bytes.HasSuffix(cmdline, []byte("\x00"+arg+"\x00")) {
			n++
		}
	}
	return n, nil
}

// enterRoot makes root the root file system of this process, which is the first of its namespaces. Cgroups are a plain
// directory, so that kl-init's do not touch the machine's.
func enterRoot(root string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount(root, root, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	for _, dir := range []string{"proc", "dev", "etc", "sys/fs/cgroup/memory", "usr/local/bin", "kl/node"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := syscall.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	if err := os.WriteFile(filepath.Join(root, "dev/null"), nil, 0o644); err != nil {
		return err
	}
	if err := syscall.Mount("/dev/null", filepath.Join(root, "dev/null"), "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount /dev/null: %w", err)
	}
	for _, dir := range []string{"/lib", "/lib64", "/usr/lib"} { // with the race detector, the test binary is not static
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(dir, root+dir, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	if err := syscall.Chroot(root); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return os.Chdir("/")
}

// node is a running kl-init.
type node struct {
	t     *testing.T
	root  string
	cmd   *exec.Cmd
	out   bytes.Buffer
	ended chan error
}

// start runs kl-init as process 1 of a container with the given node.json; none if it is empty.
func start(t *testing.T, config string) *node {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: making namespaces needs root")
	}
	n := &node{t: t, root: t.TempDir(), ended: make(chan error, 1)}
	if err := os.MkdirAll(filepath.Join(n.root, "kl/node"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(n.root, "usr/local/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	copyProgram(t, filepath.Join(n.root, engine))
	if config != "" {
		if err := os.WriteFile(filepath.Join(n.root, nodeConfig), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n.cmd = exec.CommandContext(t.Context(), os.Args[0])
	n.cmd.Env = []string{"KL_TEST_ROOT=" + n.root, "TZ=UTC", "SECRET=1"}
	n.cmd.Stdout, n.cmd.Stderr = &n.out, &n.out
	n.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { n.ended <- n.cmd.Wait() }()
	return n
}

func copyProgram(t *testing.T, to string) {
	t.Helper()
	in, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}

// wait returns how kl-init ended.
func (n *node) wait() error {
	n.t.Helper()
	select {
	case err := <-n.ended:
		return err
	case <-time.After(30 * time.Second):
		n.t.Fatalf("kl-init still runs\n%s", n.logs())
		return nil
	}
}

func (n *node) logs() string {
	text := n.out.String()
	logs, _ := filepath.Glob(filepath.Join(n.root, logDir, "*.log"))
	for _, path := range logs {
		content, _ := os.ReadFile(path)
		text += "== " + filepath.Base(path) + "\n" + string(content)
	}
	return text
}

// event is a line of the events file.
type event struct {
	at   time.Duration // since 1970
	what string
}

func (n *node) events() (list []event) {
	text, _ := os.ReadFile(filepath.Join(n.root, events)) // not there before the first event
	for line := range strings.Lines(string(text)) {
		ms, what, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		at, _ := strconv.Atoi(ms)
		list = append(list, event{time.Duration(at) * time.Millisecond, what})
	}
	return list
}

// await waits for an event and returns all there have been.
func (n *node) await(what string) []event {
	n.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(30 * time.Second); ; {
		list := n.events()
		if slices.ContainsFunc(list, func(e event) bool { return e.what == what }) {
			return list
		}
		select {
		case <-tick.C:
		case err := <-n.ended:
			n.t.Fatalf("kl-init ended: %v\n%s", err, n.logs())
		case <-limit:
			n.t.Fatalf("no event %q, only %v\n%s", what, list, n.logs())
		}
	}
}

// A program that ends is started again after growing pauses, orphans are reaped, and SIGTERM ends the node's program first.
func TestInit(t *testing.T) {
	n := start(t, `{"gateway": "10.245.0.1"}`)
	list := n.await("orphan reaped")
	var starts []time.Duration
	for _, e := range list {
		if e.what == "node started" {
			starts = append(starts, e.at)
		}
	}
	if len(starts) != 3 {
		t.Fatalf("events are %v, want three starts of node", list)
	}
	first, second := starts[1]-starts[0], starts[2]-starts[1]
	if first < 100*time.Millisecond || second < 200*time.Millisecond {
		t.Errorf("node was started again after %s and %s, want at least 100 ms and 200 ms", first, second)
	}
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := n.wait(); err != nil {
		t.Errorf("kl-init ended with %v\n%s", err, n.logs())
	}
	list = n.events()
	if i := len(list) - 2; list[i].what != "node stopped" || list[i+1].what != "containerd stopped" {
		t.Errorf("the last events are %v, want node stopped before containerd", list[i:])
	}
	log, err := os.ReadFile(filepath.Join(n.root, logDir, "init.log"))
	if err != nil || strings.Count(string(log), `msg="program ended" program=node`) < 2 || !strings.Contains(string(log), "exit code 7") {
		t.Errorf("init.log does not tell of both failures: %v\n%s", err, log)
	}
}

// A program that is killed is replaced, and the others run on.
func TestKilledProgramIsReplaced(t *testing.T) {
	n := start(t, `{}`)
	n.await("orphan reaped")
	killed := false
	for child := range strings.FieldsSeq(children(t, n.cmd.Process.Pid)) {
		cmdline, _ := os.ReadFile(filepath.Join("/proc", child, "cmdline"))
		if !bytes.HasSuffix(cmdline, []byte("\x00containerd\x00")) {
			continue
		}
		pid, err := strconv.Atoi(child)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed = true
	}
	if !killed {
		t.Fatalf("containerd does not run\n%s", n.logs())
	}
	count := func() (containerd, node int) {
		for _, e := range n.events() {
			switch e.what {
			case "containerd started":
				containerd++
			case "node started":
				node++
			}
		}
		return containerd, node
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for containerd, _ := count(); containerd < 2; containerd, _ = count() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("containerd was not started again: %v\n%s", n.events(), n.logs())
		}
	}
	if containerd, node := count(); containerd != 2 || node != 3 {
		t.Errorf("containerd was started %d times and node %d times, want 2 and 3", containerd, node)
	}
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := n.wait(); err != nil {
		t.Errorf("kl-init ended with %v\n%s", err, n.logs())
	}
}

// children returns the IDs of a process' children. Each thread has its own list, and Go starts processes from any of them.
func children(t *testing.T, pid int) (pids string) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		more, _ := os.ReadFile(path) // a thread may have ended
		pids += " " + string(more)
	}
	return pids
}

func TestInitFails(t *testing.T) {
	t.Run("not process 1", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "KL_TEST_MAIN=1")
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(out), "kl-init must be PID 1 of a container") {
			t.Errorf("exit code %d, output %q", code, out)
		}
	})
	for _, tt := range []struct{ name, config, want string }{
		{"no configuration", "", "read /kl/node/node.json"},
		{"damaged configuration", "{", "read /kl/node/node.json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := start(t, tt.config)
			if err := n.wait(); err == nil || !strings.Contains(n.out.String(), tt.want) {
				t.Errorf("ended with %v and output %q, want %q", err, &n.out, tt.want)
			}
			if list := n.events(); len(list) > 0 {
				t.Errorf("programs were started: %v", list)
			}
		})
	}
}

// Programs get a PATH, containerd the proxy settings too, and nothing else of kl-init's environment.
func TestEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy:3128")
	t.Setenv("no_proxy", "")
	t.Setenv("SECRET", "1")
	env := environment(containerdRole)
	if other := environment("node"); slices.ContainsFunc(other, func(s string) bool { return strings.Contains(strings.ToLower(s), "_proxy") }) {
		t.Errorf("environment of the node's program is %q, want no proxy", other)
	}
	for _, want := range []string{"HTTPS_PROXY=http://proxy:3128", "no_proxy=", "HOME=/root", "SSL_CERT_DIR=/etc/ssl/certs:/kl/node/certs"} {
		if !slices.Contains(env, want) {
			t.Errorf("environment %q lacks %s", env, want)
		}
	}
	if slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "SECRET") }) {
		t.Errorf("environment %q has SECRET", env)
	}
}
