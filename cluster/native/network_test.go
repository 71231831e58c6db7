//go:build linux

package native

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
)

// run executes a command in a node and returns what it wrote.
func run(t *testing.T, d *Driver, n cluster.Node, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	code, err := d.Exec(t.Context(), n, cluster.ExecSpec{Cmd: args, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("exec %q: %v", args, err)
	}
	return out.String(), code
}

// TestRangeIsTakenBeforeTheNodeStarts makes the directories of two nodes in two homes, which know each other's ranges by the kernel
// alone.
func TestRangeIsTakenBeforeTheNodeStarts(t *testing.T) {
	machine(t)
	var ranges []netip.Prefix
	for range 2 {
		d := connect(t, t.TempDir())
		s := spec(t, d, "n1")
		lock, r, err := d.makeBundle(t.Context(), d.bundle(s.Cluster, s.Name), s)
		if err != nil {
			t.Fatal(err)
		}
		lock.Unlock()
		ranges = append(ranges, r.Subnet)
	}
	if ranges[0] == ranges[1] {
		t.Errorf("two homes were given %s", ranges[0])
	}
}

// TestNodesReachEachOther is most interesting on machines whose firewall drops forwarded packets, as Docker's does.
func TestNodesReachEachOther(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	s1, s2 := spec(t, d, "n1"), spec(t, d, "n2")
	n1, n2 := create(t, d, s1), create(t, d, s2)
	for _, way := range []struct {
		from cluster.Node
		to   string
	}{{n1, n2.IP}, {n2, n1.IP}} {
		if out, code := run(t, d, way.from, "ping", "-c", "1", "-W", "5", way.to); code != 0 {
			t.Errorf("%s to %s: %s", way.from.Name, way.to, out)
		}
	}
	out, _ := run(t, d, n1, "ip", "route")
	if !strings.Contains(out, "default via") {
		t.Errorf("no default route:\n%s", out)
	}
	if out, code := run(t, d, n1, "cat", "/etc/hosts"); code != 0 || !strings.Contains(out, n1.IP+"\tn1") {
		t.Errorf("/etc/hosts: %q", out)
	}
	if out, code := run(t, d, n1, "cat", "/etc/resolv.conf"); code != 0 {
		t.Errorf("/etc/resolv.conf: %q", out)
	}
}

func TestPublishedPort(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	s := spec(t, d, "n1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	s.Ports = []cluster.Port{{Host: port, Node: 80}}
	_, err = d.Create(t.Context(), s)
	var explained *cluster.Error
	if !errors.As(err, &explained) || !strings.Contains(explained.Hint, "choose another one") {
		t.Errorf("create with a port that is taken: %v", err)
	}
	l.Close()
	n := create(t, d, s)
	if out, code := run(t, d, n, "sh", "-c", "busybox nc -l -p 80 -e echo from the node >/dev/null 2>&1 & echo started"); code != 0 {
		t.Fatalf("listen in the node: %s", out)
	}
	var have []byte
	err = wait.PollUntilContextCancel(t.Context(), pollInterval, true, func(context.Context) (bool, error) { // until the program listens
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return false, err
		}
		defer c.Close()
		have, _ = io.ReadAll(c)
		return len(have) > 0, nil
	})
	if err != nil || string(have) != "from the node\n" {
		t.Errorf("%q, error %v", have, err)
	}
}

// TestPublishedPacketPort has two clients, whose answers must not be mixed up.
func TestPublishedPacketPort(t *testing.T) {
	stop, port := echoPackets(t)
	defer stop()
	for _, text := range []string{"one", "two"} {
		c, err := net.Dial("udp", port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		for range 2 {
			if _, err := c.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			answer := make([]byte, 100)
			if n, err := c.Read(answer); err != nil || string(answer[:n]) != text {
				t.Errorf("answer to %q: %q, error %v", text, answer[:n], err)
			}
		}
	}
}

// echoPackets publishes a UDP port of the loopback address, in the place of a node's, that echoes packets.
func echoPackets(t *testing.T) (stop func(), address string) {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		packet := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(packet[:n], from)
		}
	}()
	free, err := net.ListenPacket("udp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	from := free.LocalAddr().(*net.UDPAddr)
	free.Close()
	stop, err = publish(t.Context(), []cluster.Port{{
		Host: from.Port, Node: server.LocalAddr().(*net.UDPAddr).Port, Protocol: "udp", Address: "127.0.0.2",
	}}, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	return stop, from.String()
}

func TestPublishRefusesOtherProtocols(t *testing.T) {
	_, err := publish(t.Context(), []cluster.Port{{Host: 1, Node: 1, Protocol: "sctp"}}, netip.MustParseAddr("127.0.0.1"))
	if err == nil || !strings.Contains(err.Error(), "sctp") {
		t.Errorf("error %v", err)
	}
}

func TestLimits(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	s := spec(t, d, "n1")
	s.MemoryBytes, s.MilliCPUs = 96<<20, 250
	create(t, d, s)
	want := map[string]string{"memory.max": "100663296", "cpu.max": "25000 100000"}
	if _, err := os.Stat(cgroupRoot + "/memory/memory.limit_in_bytes"); err == nil { // cgroup v1
		want = map[string]string{"memory.limit_in_bytes": "100663296", "cpu.cfs_quota_us": "25000", "cpu.cfs_period_us": "100000"}
	}
	for file, value := range want {
		have := ""
		for _, dir := range cgroupDirs(d.scope("c").cgroup() + "/n1") {
			if data, err := os.ReadFile(dir + "/" + file); err == nil {
				have = strings.TrimSpace(string(data))
			}
		}
		if have != value {
			t.Errorf("%s is %q, want %q", file, have, value)
		}
	}
}

func TestResolvConf(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"plain", map[string]string{"/etc/resolv.conf": "# x\nsearch a b\nnameserver 192.0.2.1\noptions ndots:1\n"}, "search a b\nnameserver 192.0.2.1\noptions ndots:1\n"},
		{"systemd-resolved", map[string]string{
			"/etc/resolv.conf":                 "nameserver 127.0.0.53\noptions edns0\n",
			"/run/systemd/resolve/resolv.conf": "nameserver 192.0.2.2\nsearch .\n",
		}, "nameserver 192.0.2.2\nsearch .\n"},
		{"one of two", map[string]string{"/etc/resolv.conf": "nameserver ::1\nnameserver 192.0.2.3\n"}, "nameserver 192.0.2.3\n"},
		{"none", nil, "# the host has no name server that a node could reach\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			have, err := resolvConf(func(path string) ([]byte, error) {
				if text, ok := c.files[path]; ok {
					return []byte(text), nil
				}
				return nil, os.ErrNotExist
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, have); diff != "" {
				t.Errorf("resolv.conf (-want +got):\n%s", diff)
			}
		})
	}
}
