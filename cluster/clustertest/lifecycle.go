package clustertest

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
)

func (b *bench) stopsAndStarts(t *testing.T) {
	s := b.driver.(cluster.Starter)
	n := b.create(t, "n1")
	b.run(t, n, "kept", "tee", "/var/kept")
	b.run(t, n, "lost", "tee", "/run/lost")
	if err := s.Stop(t.Context(), n); err != nil {
		t.Fatalf("stop: %v", err)
	}
	b.expect(t, in(n, cluster.NodeStopped))
	other := b.create(t, "n2") // must not take the address of n1
	if other.IP == n.IP {
		t.Errorf("a new node took the address of a stopped one: %s", n.IP)
	}
	if err := s.Start(t.Context(), n); err != nil {
		t.Fatalf("start: %v", err)
	}
	b.expect(t, in(n, cluster.NodeRunning), in(other, cluster.NodeRunning))
	if have := b.list(t)[0]; have.ID != n.ID {
		t.Errorf("ID is %s, was %s", have.ID, n.ID)
	}
	if out, code := b.run(t, n, "", "cat", "/var/kept"); out != "kept" || code != 0 {
		t.Errorf("file on /var: %q, exit code %d", out, code)
	}
	if out, code := b.run(t, n, "", "cat", "/run/lost"); code == 0 {
		t.Errorf("/run was kept: %q", out)
	}
	if out, _ := b.run(t, n, "", "hostname"); strings.TrimSpace(out) != "n1" {
		t.Errorf("host name %q", out)
	}
}

func (b *bench) stopsTwice(t *testing.T) {
	s := b.driver.(cluster.Starter)
	n := b.create(t, "n1")
	for range 2 {
		if err := s.Start(t.Context(), n); err != nil {
			t.Errorf("start of a running node: %v", err)
		}
	}
	for range 2 {
		if err := s.Stop(t.Context(), n); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	if err := s.Kill(t.Context(), n); err != nil {
		t.Errorf("kill of a stopped node: %v", err)
	}
	b.expect(t, in(n, cluster.NodeStopped))
}

func (b *bench) kills(t *testing.T) {
	s := b.driver.(cluster.Starter)
	n := b.create(t, "n1")
	b.run(t, n, "kept", "tee", "/var/kept")
	if err := s.Kill(t.Context(), n); err != nil {
		t.Fatalf("kill: %v", err)
	}
	b.expect(t, in(n, cluster.NodeStopped))
	if err := s.Start(t.Context(), n); err != nil {
		t.Fatalf("start: %v", err)
	}
	b.expect(t, in(n, cluster.NodeRunning))
	if out, _ := b.run(t, n, "", "cat", "/var/kept"); out != "kept" {
		t.Errorf("file on /var: %q", out)
	}
}

func (b *bench) pauses(t *testing.T) {
	p := b.driver.(cluster.Pauser)
	n := b.create(t, "n1")
	for range 2 {
		if err := p.Pause(t.Context(), n); err != nil {
			t.Fatalf("pause: %v", err)
		}
	}
	b.expect(t, in(n, cluster.NodePaused))
	for range 2 {
		if err := p.Resume(t.Context(), n); err != nil {
			t.Fatalf("resume: %v", err)
		}
	}
	b.expect(t, in(n, cluster.NodeRunning))
	if out, code := b.run(t, n, "", "echo", "alive"); out != "alive\n" || code != 0 {
		t.Errorf("after resume: %q, exit code %d", out, code)
	}
}

func (b *bench) deletesAnyState(t *testing.T) {
	p, s := b.driver.(cluster.Pauser), b.driver.(cluster.Starter)
	paused, stopped := b.create(t, "n1"), b.create(t, "n2")
	if err := p.Pause(t.Context(), paused); err != nil {
		t.Fatalf("pause: %v", err)
	}
	if err := s.Kill(t.Context(), stopped); err != nil {
		t.Fatalf("kill: %v", err)
	}
	for _, n := range []cluster.Node{paused, stopped} {
		if err := b.driver.Delete(t.Context(), n); err != nil {
			t.Errorf("delete %s: %v", n.Name, err)
		}
	}
	b.expect(t)
}

func (b *bench) execCodes(t *testing.T) {
	n := b.create(t, "n1")
	for _, c := range []struct {
		cmd  []string
		want int
	}{
		{[]string{"true"}, 0}, {[]string{"false"}, 1}, {[]string{"sh", "-c", "exit 7"}, 7},
	} {
		if _, code := b.run(t, n, "", c.cmd...); code != c.want {
			t.Errorf("%q: exit code %d, want %d", c.cmd, code, c.want)
		}
	}
}

func (b *bench) execStreams(t *testing.T) {
	e := b.driver.(cluster.Execer)
	n := b.create(t, "n1")
	long := strings.Repeat("a line that is not short\n", 20000) // half a megabyte: more than any buffer
	if out, code := b.run(t, n, long, "cat"); out != long || code != 0 {
		t.Errorf("cat returned %d bytes of %d, exit code %d", len(out), len(long), code)
	}
	var stdout, stderr bytes.Buffer
	code, err := e.Exec(t.Context(), n, cluster.ExecSpec{Cmd: []string{"cat", "/missing"}, Stdout: &stdout, Stderr: &stderr})
	if err != nil || code == 0 || stdout.Len() > 0 || stderr.Len() == 0 {
		t.Errorf("cat of a missing file: exit code %d, error %v, stdout %q, stderr %q", code, err, &stdout, &stderr)
	}
	if code, err := e.Exec(t.Context(), n, cluster.ExecSpec{Cmd: []string{"cat"}}); code != 0 || err != nil {
		t.Errorf("no streams: exit code %d, error %v", code, err)
	}
}

func (b *bench) execTerminal(t *testing.T) {
	e := b.driver.(cluster.Execer)
	n := b.create(t, "n1")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	sizes := make(chan cluster.TermSize, 1)
	sizes <- cluster.TermSize{Width: 121, Height: 33}
	out := &lines{each: func(line string) {
		if line == "33 121" { // the first size has taken effect
			sizes <- cluster.TermSize{Width: 90, Height: 40}
		}
	}}
	// An engine may apply a size a moment after the command has started, so the command waits for each.
	script := `for want in "33 121" "40 90"; do until [ "$(stty size 2>&1)" = "$want" ]; do sleep 0.01; done; stty size; done`
	code, err := e.Exec(ctx, n, cluster.ExecSpec{Cmd: []string{"sh", "-c", script}, Stdin: strings.NewReader(""), Stdout: out, TTY: true, Resize: sizes})
	// A terminal ends lines with a carriage return; runc at times adds a second one, which no eye sees.
	if text := strings.ReplaceAll(out.all.String(), "\r", ""); err != nil || code != 0 || text != "33 121\n40 90\n" {
		t.Errorf("exec with a terminal: output %q, exit code %d, error %v", &out.all, code, err)
	}
}

// lines keeps all that is written and calls each with every whole line.
type lines struct {
	all  bytes.Buffer
	rest string
	each func(line string)
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest += string(p)
	for {
		line, rest, whole := strings.Cut(l.rest, "\n")
		if !whole {
			return l.all.Write(p)
		}
		l.rest = rest
		l.each(strings.TrimRight(line, "\r"))
	}
}

func (b *bench) execFails(t *testing.T) {
	e := b.driver.(cluster.Execer)
	n := b.create(t, "n1")
	gone := n
	gone.Name, gone.ID = "n9", strings.Repeat("0", 64)
	if code, err := e.Exec(t.Context(), gone, cluster.ExecSpec{Cmd: []string{"true"}}); err == nil {
		t.Errorf("exec in a node that does not exist: exit code %d, no error", code)
	}
	if s, ok := b.driver.(cluster.Starter); ok {
		if err := s.Stop(t.Context(), n); err != nil {
			t.Fatalf("stop: %v", err)
		}
		if code, err := e.Exec(t.Context(), n, cluster.ExecSpec{Cmd: []string{"true"}}); err == nil {
			t.Errorf("exec in a stopped node: exit code %d, no error", code)
		}
	}
}

func (b *bench) execCancelled(t *testing.T) {
	e := b.driver.(cluster.Execer)
	n := b.create(t, "n1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := net.Pipe() // an input that never ends
	defer w.Close()
	defer r.Close()
	done := make(chan error, 1)
	go func() {
		_, err := e.Exec(ctx, n, cluster.ExecSpec{Cmd: []string{"cat"}, Stdin: r})
		done <- err
	}()
	if _, err := w.Write([]byte("taken by the command or on its way")); err != nil {
		t.Fatalf("write to the command: %v", err)
	}
	cancel()
	select {
	case err := <-done:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("exec goes on after ctx ended")
	}
}

func (b *bench) mounts(t *testing.T) {
	spec := b.spec(t, "n1")
	writable, readOnly := filepath.Join(b.dir, "rw"), filepath.Join(b.dir, "ro")
	for _, dir := range []string{writable, readOnly} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("from the host"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec.Mounts = []cluster.Mount{{Host: writable, Node: "/data/rw"}, {Host: readOnly, Node: "/data/ro", ReadOnly: true}}
	n, err := b.driver.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	for _, dir := range []string{"/data/rw", "/data/ro"} {
		if out, code := b.run(t, n, "", "cat", dir+"/file"); out != "from the host" || code != 0 {
			t.Errorf("%s: %q, exit code %d", dir, out, code)
		}
	}
	for dir, host := range map[string]string{
		cluster.NodeMountDir: spec.NodeDir, cluster.SharedMountDir: spec.SharedDir, "/data/rw": writable,
	} {
		if _, code := b.run(t, n, "from the node", "tee", dir+"/back"); code != 0 {
			t.Errorf("%s is not writable", dir)
		}
		if back, err := os.ReadFile(filepath.Join(host, "back")); err != nil || string(back) != "from the node" {
			t.Errorf("%s on the host: %q, %v", dir, back, err)
		}
	}
	for _, dir := range []string{"/data/ro", cluster.TunnelMountDir} {
		if out, code := b.run(t, n, "x", "tee", dir+"/back"); code == 0 {
			t.Errorf("%s is read-only, and was written to: %q", dir, out)
		}
	}
}
