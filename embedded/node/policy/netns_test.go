package policy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests with real packets run in network and mount namespaces of their own, which is the node; its pods are further
// namespaces with a link to it, as the ptp plugin makes them. In each runs this test binary again, as a helper that
// connects and listens on command.
const (
	envHelper = "KL_POLICY_HELPER" // set: be a helper
	envInside = "KL_POLICY_NODE"   // set: already in the node's namespaces
)

func TestMain(m *testing.M) {
	if os.Getenv(envHelper) != "" {
		serveHelper(os.Stdin, os.Stdout)
		return
	}
	os.Exit(m.Run())
}

// inNode runs the calling test again inside new namespaces. It is true there.
func inNode(t *testing.T) bool {
	t.Helper()
	if os.Getenv(envInside) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: NOT ROOT. Nothing was tested with real packets.")
	}
	for _, tool := range []string{"nft", "ip", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: NO %q PROGRAM. Nothing was tested with real packets.", tool)
		}
	}
	args := []string{"--net", "--mount", "--propagation", "private", os.Args[0], "-test.run", "^" + t.Name() + "$", "-test.v"}
	cmd := exec.CommandContext(t.Context(), "unshare", args...)
	cmd.Env = append(os.Environ(), envInside+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("inside the namespaces: %v", err)
	}
	if strings.Contains(string(out), "--- SKIP: "+t.Name()) {
		t.Skip("SKIPPED inside the namespaces: see above")
	}
	return false
}

// order is a command for a helper; answer is its result.
type order struct {
	ID      int           `json:"id"`
	Op      string        `json:"op"` // listen, dial, open, talk, sctp
	Network string        `json:"network"`
	From    string        `json:"from,omitempty"` // address to connect from
	Addr    string        `json:"addr"`
	Timeout time.Duration `json:"timeout"`
	Conn    int           `json:"conn,omitempty"` // of talk: the ID of the open order
}

type answer struct {
	ID  int    `json:"id"`
	Err string `json:"err,omitempty"`
}

func serveHelper(in io.Reader, out io.Writer) {
	var mu sync.Mutex
	conns := map[int]net.Conn{}
	enc := json.NewEncoder(out)
	dec := json.NewDecoder(bufio.NewReader(in))
	for {
		var o order
		if dec.Decode(&o) != nil {
			return
		}
		work := func() {
			err := obey(o, &mu, conns)
			a := answer{ID: o.ID}
			if err != nil {
				a.Err = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			enc.Encode(a)
		}
		go work()
	}
}

func obey(o order, mu *sync.Mutex, conns map[int]net.Conn) error {
	switch o.Op {
	case "listen":
		return listen(o.Network, o.Addr)
	case "sctp":
		return dialSCTP(o.Addr, o.Timeout)
	case "dial", "open":
		c, err := dial(o)
		if err != nil {
			return err
		}
		if o.Op == "dial" {
			defer c.Close()
		} else {
			mu.Lock()
			conns[o.ID] = c
			mu.Unlock()
		}
		return ping(c, o.Timeout)
	case "talk":
		mu.Lock()
		c := conns[o.Conn]
		mu.Unlock()
		return ping(c, o.Timeout)
	}
	return fmt.Errorf("unknown order %q", o.Op)
}

func dial(o order) (net.Conn, error) {
	d := net.Dialer{Timeout: o.Timeout}
	if o.From != "" {
		ip := net.ParseIP(o.From)
		if d.LocalAddr = net.Addr(&net.TCPAddr{IP: ip}); o.Network == "udp" {
			d.LocalAddr = &net.UDPAddr{IP: ip}
		}
	}
	return d.Dial(o.Network, o.Addr)
}

// ping sends a line and waits for the echo.
func ping(c net.Conn, timeout time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("ping\n")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	return err
}

func listen(network, addr string) error {
	if network == "udp" {
		c, err := net.ListenPacket("udp", addr)
		if err != nil {
			return err
		}
		go func() {
			buf := make([]byte, 1500)
			for {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				c.WriteTo(buf[:n], from)
			}
		}()
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	return nil
}

// dialSCTP sends an INIT to a port without a listener: an ABORT comes back if the packet was let through.
func dialSCTP(addr string, timeout time.Duration) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return fmt.Errorf("no SCTP: %w", err)
	}
	defer unix.Close(fd)
	tv := unix.NsecToTimeval(int64(timeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
		return err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	return err
}

// helper is a helper process in a network namespace.
type helper struct {
	t   *testing.T
	in  io.Writer
	mu  sync.Mutex
	n   int
	ans map[int]chan string
}

// newHelper starts one; an empty namespace is the node itself.
func newHelper(t *testing.T, namespace string) *helper {
	t.Helper()
	args := []string{"ip", "netns", "exec", namespace, os.Args[0]}
	if namespace == "" {
		args = args[4:]
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), envHelper+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	h := &helper{t: t, in: in, ans: map[int]chan string{}}
	go h.read(out)
	return h
}

func (h *helper) read(out io.Reader) {
	dec := json.NewDecoder(out)
	for {
		var a answer
		if dec.Decode(&a) != nil {
			return
		}
		h.mu.Lock()
		c := h.ans[a.ID]
		h.mu.Unlock()
		c <- a.Err
	}
}

// do gives an order and waits for the answer, which is empty on success.
func (h *helper) do(o order) (id int, answer string) {
	h.mu.Lock()
	h.n++
	o.ID = h.n
	c := make(chan string, 1)
	h.ans[o.ID] = c
	err := json.NewEncoder(h.in).Encode(o)
	h.mu.Unlock()
	if err != nil {
		return o.ID, err.Error()
	}
	return o.ID, <-c
}

func (h *helper) listen(network, addr string) {
	h.t.Helper()
	if _, err := h.do(order{Op: "listen", Network: network, Addr: addr}); err != "" {
		h.t.Fatalf("listen on %s %s: %s", network, addr, err)
	}
}

// Timeouts: a connection that should succeed gets long, one that should fail gets brief, so that a slow machine cannot make
// the test fail.
const (
	brief = 400 * time.Millisecond
	long  = 10 * time.Second
)

// reaches tries a connection. want decides the timeout.
func (h *helper) reaches(network, from, addr string, want bool) bool {
	o := order{Op: "dial", Network: network, From: from, Addr: addr, Timeout: brief}
	if network == "sctp" {
		o.Op = "sctp"
	}
	_, err := h.do(o)
	if err != "" && want {
		if network != "udp" { // a lost datagram is not sent again
			o.Timeout = long
		}
		_, err = h.do(o)
	}
	return err == ""
}

func run(t *testing.T, command string, args ...any) string {
	t.Helper()
	f := strings.Fields(fmt.Sprintf(command, args...))
	out, err := exec.CommandContext(t.Context(), f[0], f[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(f, " "), err, out)
	}
	return string(out)
}

func nft(t *testing.T, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// makeNode turns the namespaces of this process into a node: 172.18.0.2 on a link to node n2, 203.0.113.1 on a link to a host
// outside of the cluster, and the gateway address.
func makeNode(t *testing.T) (n2, outside, node *helper) {
	t.Helper()
	run(t, "mount -t tmpfs tmpfs /run")
	run(t, "mkdir -p /run/netns")
	run(t, "ip link set lo up")
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	run(t, "ip addr add 10.245.0.1/32 dev lo") // not every kernel has dummy links
	link := func(ns, dev, here, there string) {
		run(t, "ip netns add %s", ns)
		run(t, "ip link add %s type veth peer name eth0 netns %s", dev, ns)
		run(t, "ip addr add %s dev %s", here, dev)
		run(t, "ip link set %s up", dev)
		run(t, "ip -n %s link set lo up", ns)
		run(t, "ip -n %s addr add %s dev eth0", ns, there)
		run(t, "ip -n %s link set eth0 up", ns)
		run(t, "ip -n %s route add default via %s", ns, strings.Split(here, "/")[0])
	}
	link("n2", "eth0", "172.18.0.2/24", "172.18.0.3/24")
	link("outside", "eth1", "203.0.113.1/24", "203.0.113.7/24")
	run(t, "ip route add 10.244.2.0/24 via 172.18.0.3")
	n2, outside, node = newHelper(t, "n2"), newHelper(t, "outside"), newHelper(t, "")
	return n2, outside, node // the kernel removes all of it with the last process in these namespaces
}

// makePod links a namespace to the node as the ptp plugin does.
func makePod(t *testing.T, name, addr string) *helper {
	t.Helper()
	veth := "veth" + strconv.FormatUint(uint64(netip.MustParseAddr(addr).As4()[3]), 16) + "p"
	run(t, "ip netns add %s", name)
	run(t, "ip link add %s type veth peer name eth0 netns %s", veth, name)
	run(t, "ip addr add 10.244.1.1/32 dev %s", veth)
	run(t, "ip link set %s up", veth)
	run(t, "ip route add %s/32 dev %s", addr, veth)
	run(t, "ip -n %s link set lo up", name)
	run(t, "ip -n %s addr add %s/24 dev eth0", name, addr)
	run(t, "ip -n %s link set eth0 up", name)
	run(t, "ip -n %s route del 10.244.1.0/24 dev eth0", name)
	run(t, "ip -n %s route add 10.244.1.1 dev eth0 scope link", name)
	run(t, "ip -n %s route add default via 10.244.1.1", name)
	return newHelper(t, name)
}
