package clustertest

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
)

// Promises that the kernel keeps for the driver: address ranges, limits and ports.

func (b *bench) avoids(t *testing.T) {
	b.create(t, "n1")
	chosen := b.Network(t, b.cluster) // what the driver takes without ranges to avoid
	side := b.beside(t)
	spec := side.spec(t, "n1")
	around := netip.PrefixFrom(chosen.Addr(), chosen.Bits()-2).Masked()
	spec.Avoid = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), around}
	n, err := side.driver.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	network := b.Network(t, side.cluster)
	if !network.Contains(netip.MustParseAddr(n.IP)) {
		t.Errorf("node %s is not in its network %s", n.IP, network)
	}
	for _, avoid := range append(spec.Avoid, chosen) {
		if network.Overlaps(avoid) {
			t.Errorf("network %s overlaps %s", network, avoid)
		}
	}
}

func (b *bench) limitsMemory(t *testing.T) {
	spec := b.spec(t, "n1")
	spec.MemoryBytes = 64 << 20
	n, err := b.driver.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	const killed = 128 + 9 // SIGKILL
	for size, want := range map[string]int{"8M": 0, "256M": killed} {
		if out, code := b.run(t, n, "", "dd", "if=/dev/zero", "of=/dev/null", "bs="+size, "count=1"); code != want {
			t.Errorf("a process that uses %s ended with exit code %d, want %d: %s", size, code, want, out)
		}
	}
	b.expect(t, in(n, cluster.NodeRunning))
}

func (b *bench) limitsCPU(t *testing.T) {
	spec := b.spec(t, "n1")
	spec.MilliCPUs = 250
	n, err := b.driver.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	const busy, most = 2 * time.Second, time.Second // at a quarter of a CPU it is half a second
	out, code := b.run(t, n, "", "sh", "-c", fmt.Sprintf(`timeout %d sh -c "while :; do :; done"; times`, busy/time.Second))
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	used, err := childTimes(out)
	if err != nil {
		t.Fatalf("output of times: %v", err)
	}
	if used == 0 || used > most {
		t.Errorf("a busy process used %v of CPU in %v, want some, but less than %v", used, busy, most)
	}
}

// childTimes reads the last line that times(1) prints: user and system time of the shell's children, as in 0m0.49s 0m0.01s.
func childTimes(out string) (time.Duration, error) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var sum time.Duration
	for _, f := range strings.Fields(lines[len(lines)-1]) {
		d, err := time.ParseDuration(f)
		if err != nil {
			return 0, fmt.Errorf("%w in %q", err, out)
		}
		sum += d
	}
	return sum, nil
}

// publish makes a node that runs the program answer on a published port, and returns the port's address on the host.
func (b *bench) publish(t *testing.T, network string, port int) string {
	t.Helper()
	spec := b.spec(t, "n1")
	spec.Ports = []cluster.Port{{Host: port, Node: 4000, Protocol: network}}
	n, err := b.driver.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if out, code := b.run(t, n, "", "sh", "-c", "answer "+network+" 4000 >/dev/null 2>&1 & echo started"); code != 0 {
		t.Fatalf("start the program in the node: exit code %d: %s", code, out)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// eventually calls do until it succeeds: the program in the node takes a moment to listen.
func eventually(t *testing.T, do func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = do(); err == nil {
			return
		}
	}
	t.Fatalf("after 30 s: %v", err)
}

func (b *bench) answersTCP(t *testing.T) {
	address := b.publish(t, "tcp", freePort(t, "tcp"))
	long := strings.Repeat("a line that is not short\n", 40000) // a megabyte: more than any buffer
	eventually(t, func() error {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(c, long)
			sent <- err
			_ = c.(*net.TCPConn).CloseWrite() // the answer must still arrive in full
		}()
		have, err := io.ReadAll(c)
		if err == nil && string(have) != long {
			err = fmt.Errorf("%d bytes came back of %d", len(have), len(long))
		}
		if sendErr := <-sent; err == nil {
			err = sendErr
		}
		return err
	})
}

func (b *bench) answersUDP(t *testing.T) {
	address := b.publish(t, "udp", freePort(t, "udp"))
	var clients []net.Conn
	for range 2 {
		c, err := net.Dial("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	packet := make([]byte, 100)
	exchange := func(c net.Conn, text string) error {
		_ = c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		n, err := c.Read(packet)
		if err == nil && string(packet[:n]) != text {
			t.Errorf("the answer to %q is %q", text, packet[:n]) // of another client
		}
		return err
	}
	for i, c := range clients {
		eventually(t, func() error { return exchange(c, fmt.Sprintf("from client %d", i)) })
	}
}

func (b *bench) refusesProtocol(t *testing.T) {
	spec := b.spec(t, "n1")
	spec.Ports = []cluster.Port{{Host: freePort(t, "tcp"), Node: 80, Protocol: "icmp"}}
	if _, err := b.driver.Create(t.Context(), spec); err == nil {
		t.Error("create with a port of ICMP, which has none, succeeded")
	}
	if left := b.Residue(t, b.cluster); left != "" {
		t.Errorf("the backend still holds:\n%s", left)
	}
}

// freePort returns a port of the loopback address that was free a moment ago.
func freePort(t *testing.T, network string) int {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).Port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
