package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
)

// bench runs a forwarder. Its nodes answer each connection with "NODE:PORT " and then echo what they receive.
type bench struct {
	t       *testing.T
	layout  cluster.Layout
	reports chan error
}

func start(t *testing.T, ports ...cluster.Port) *bench { return startWith(t, nil, ports...) }

func startWith(t *testing.T, watch func(string) (fileWatch, error), ports ...cluster.Port) *bench {
	b := &bench{t: t, layout: cluster.Home(t.TempDir()).Cluster("c"), reports: make(chan error, 100)}
	if err := os.MkdirAll(b.layout.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	b.write(ports...)
	f := &Forwarder{Layout: b.layout, Logger: slog.New(slog.DiscardHandler), Dial: dial, watch: watch}
	f.Report(func(err error) { b.reports <- err })
	ctx, cancel := context.WithCancel(t.Context())
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- f.Run(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		for _, p := range ports { // Run closes its listeners before it returns
			if ln, err := net.Listen("tcp", p.HostAddress()); err == nil {
				ln.Close()
			} else if !strings.Contains(t.Name(), "Taken") {
				t.Errorf("still listening: %v", err)
			}
		}
	})
	return b
}

func dial(_ context.Context, node string, port int) (net.Conn, error) {
	if node == "n9" {
		return nil, errors.New("node is not connected")
	}
	ours, theirs := pipe()
	go func() {
		defer theirs.Close()
		fmt.Fprintf(theirs, "%s:%d ", node, port)
		_, _ = io.Copy(theirs, theirs)
	}()
	return ours, nil
}

// pipe returns the two ends of a TCP connection: those of net.Pipe have no CloseWrite.
func pipe() (a, b net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		panic(err)
	}
	if b, err = ln.Accept(); err != nil {
		panic(err)
	}
	return a, b
}

// write replaces cluster.yaml as kl does, with one node a port: n1, n2, …
func (b *bench) write(ports ...cluster.Port) {
	b.t.Helper()
	spec := cluster.DefaultSpec()
	spec.Name, spec.Kubernetes.APIServerPort, spec.Nodes = b.layout.Name, 6443, nil
	for _, p := range ports {
		spec.Nodes = append(spec.Nodes, cluster.NodeGroup{Count: 1, Ports: []cluster.Port{p}})
	}
	if err := cluster.WriteSpec(b.layout, spec); err != nil {
		b.t.Fatal(err)
	}
}

// ask sends hello to a host port and returns the answer, empty if there is none.
func ask(p cluster.Port) string {
	conn, err := net.Dial("tcp", p.HostAddress())
	if err != nil {
		return ""
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "hello")
	_ = conn.(*net.TCPConn).CloseWrite()
	text, _ := io.ReadAll(conn)
	return string(text)
}

// await waits until a port answers as wanted: the forwarder notices changes of the file some time later.
func await(t *testing.T, p cluster.Port, want string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got = ask(p); got == want {
			return
		}
	}
	t.Fatalf("port %d answers %q, want %q", p.Host, got, want)
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func TestPortsFollowTheFile(t *testing.T) {
	one, two := cluster.Port{Host: freePort(t), Node: 80}, cluster.Port{Host: freePort(t), Node: 443, Protocol: "tcp"}
	b := start(t, one)
	await(t, one, "n1:80 hello")
	b.write(one, two)
	await(t, two, "n2:443 hello")
	moved := one
	moved.Node = 81
	b.write(moved)
	await(t, two, "")
	await(t, one, "n1:81 hello")
	b.write(cluster.Port{Host: one.Host, Node: 80, Protocol: "udp"}) // published by the driver
	await(t, one, "")
	if err := os.WriteFile(b.layout.SpecFile(), []byte("{"), 0o600); err != nil { // a user's mistake
		t.Fatal(err)
	}
	b.write(one)
	await(t, one, "n1:80 hello")
}

// Without a watcher changes are seen late, but they are seen.
func TestNoWatcher(t *testing.T) {
	none := func(string) (fileWatch, error) { return fileWatch{}, errors.New("too many open files") }
	one, two := cluster.Port{Host: freePort(t), Node: 80}, cluster.Port{Host: freePort(t), Node: 81}
	b := startWith(t, none, one)
	await(t, one, "n1:80 hello")
	b.write(one, two)
	await(t, two, "n2:81 hello")
}

func TestBrokenFileKeepsPorts(t *testing.T) {
	one := cluster.Port{Host: freePort(t), Node: 80}
	b := start(t, one)
	await(t, one, "n1:80 hello")
	if err := os.WriteFile(b.layout.SpecFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for err := range b.reports {
		if err != nil && strings.Contains(err.Error(), "read ports") {
			break
		}
	}
	await(t, one, "n1:80 hello")
}

func TestTakenPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken, free := cluster.Port{Host: ln.Addr().(*net.TCPAddr).Port, Node: 80}, cluster.Port{Host: freePort(t), Node: 81}
	b := start(t, taken, free)
	await(t, free, "n2:81 hello") // the others serve
	if err := <-b.reports; err == nil || !strings.Contains(err.Error(), "port 80 of node n1") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("reported %v, want that port 80 of n1 is in use", err)
	}
	ln.Close()
	await(t, taken, "n1:80 hello")
	if err := <-b.reports; err != nil {
		t.Errorf("reported %v once the port was free", err)
	}
}

func TestOpenConnectionEndsWithItsPort(t *testing.T) {
	one := cluster.Port{Host: freePort(t), Node: 80}
	b := start(t, one)
	await(t, one, "n1:80 hello")
	conn, err := net.Dial("tcp", one.HostAddress())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b.write()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays")
	}
}

func TestNodeThatIsNotConnected(t *testing.T) {
	one := cluster.Port{Host: freePort(t), Node: 80}
	f := &Forwarder{Logger: slog.New(slog.DiscardHandler), Dial: dial}
	l, err := f.listen(t.Context(), one.HostAddress(), route{"n9", 80})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(one); got != "" {
		t.Errorf("answer %q of a node that is not connected", got)
	}
	l.close()
}

func TestNodeDialer(t *testing.T) {
	lookups, addresses := 0, []string{"10.0.0.1", "10.0.0.2"}
	var dialed []string
	d := &NodeDialer{
		Address: func(context.Context, string) (string, error) {
			lookups++
			return addresses[lookups-1], nil
		},
		DialNode: func(_ context.Context, node, network, address string) (net.Conn, error) {
			dialed = append(dialed, node+" "+network+" "+address)
			if len(dialed) == 2 {
				return nil, errors.New("refused")
			}
			return nil, nil
		},
	}
	for range 3 {
		_, _ = d.Dial(t.Context(), "n1", 80)
	}
	want := "n1 tcp 10.0.0.1:80, n1 tcp 10.0.0.1:80, n1 tcp 10.0.0.2:80"
	if got := strings.Join(dialed, ", "); got != want || lookups != 2 {
		t.Errorf("dialed %s with %d lookups, want %s with 2", got, lookups, want)
	}
}
