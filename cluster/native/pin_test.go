//go:build linux

package native

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// TestPin sends frames from a node below its IP stack, as root in it can: those with the addresses of another node or of the
// gateway do not arrive, and what a node forwards and announces does.
func TestPin(t *testing.T) {
	ownNetwork(t)
	before := network(t)
	s, subnet := scope{"01234567"}, netip.MustParsePrefix("10.246.9.0/24")
	if err := s.ensureNetwork(subnet); err != nil {
		t.Fatal(err)
	}
	nodes := map[string]netns.NsHandle{}
	for node, addr := range map[string]string{"n1": "10.246.9.2", "n2": "10.246.9.3", "n3": "10.246.9.4"} {
		var pid int
		pid, nodes[node] = emptyNode(t)
		for range 2 { // the second time as after a supervisor that was killed half-way
			if err := s.connect(node, pid, netip.MustParseAddr(addr), subnet); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.disconnect("n3"); err != nil { // a node that is stopped keeps its address
		t.Fatal(err)
	}
	own, other, gateway := s.mac("n1"), s.mac("n3"), s.mac("bridge")
	frames := []struct {
		name   string
		frame  []byte
		passes bool
	}{
		{"own address", frame(own, ipv4("10.246.9.2")), true},
		{"address of a pod", frame(own, ipv4("10.244.1.7")), true},
		{"address of a load balancer", frame(own, ipv4("10.246.9.200")), true},
		{"own ARP", frame(own, arp(own, "10.246.9.2")), true},
		{"ARP for a load balancer", frame(own, arp(own, "10.246.9.200")), true},
		{"own hardware address in VLAN 5", frame(own, tag(unix.ETH_P_8021Q, 5), ipv4("10.246.9.2")), true},
		{"hardware address of nobody", frame([]byte{2, 0, 0, 0, 0, 9}, ipv4("10.246.9.100")), true},

		{"address of a node", frame(own, ipv4("10.246.9.3")), false},
		{"address of a stopped node", frame(own, ipv4("10.246.9.4")), false},
		{"address of the gateway", frame(own, ipv4("10.246.9.1")), false},
		{"hardware address of a node", frame(other, ipv4("10.246.9.2")), false},
		{"hardware address of the gateway", frame(gateway, ipv4("10.246.9.2")), false},
		{"hardware address of a node over IPv6", frame(other, []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 59, 1}, make([]byte, 32)), false},
		{"ARP for a node", frame(own, arp(own, "10.246.9.3")), false},
		{"ARP for the gateway", frame(own, arp(own, "10.246.9.1")), false},
		{"ARP with the hardware address of a node", frame(own, arp(other, "10.246.9.2")), false},
		{"address of a node in VLAN 0", frame(own, tag(unix.ETH_P_8021Q, 0), ipv4("10.246.9.3")), false},
		{"address of a node in VLAN 0 with a priority", frame(own, tag(unix.ETH_P_8021Q, 7<<13), ipv4("10.246.9.3")), false},
		{"address of a node in VLAN 0, as providers tag", frame(own, tag(unix.ETH_P_8021AD, 0), ipv4("10.246.9.3")), false},
		{"address of a node in VLAN 0 twice", frame(own, tag(unix.ETH_P_8021Q, 0), tag(unix.ETH_P_8021Q, 0), ipv4("10.246.9.3")), false},
		{"the end", frame(own, ipv4("10.246.9.2")), true},
	}
	from, to := packetSocket(t, nodes["n1"]), packetSocket(t, nodes["n2"])
	var want []string
	for i, f := range frames {
		if f.passes {
			want = append(want, f.name)
		}
		if _, err := unix.Write(from, append(f.frame, mark(i)...)); err != nil {
			t.Fatalf("send %s: %v", f.name, err)
		}
	}
	var got []string
	for _, i := range receive(t, to, len(frames)-1) {
		got = append(got, frames[i].name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frames that arrived (-want +got):\n%s", diff)
	}
	for node := range nodes {
		if err := s.disconnect(node); err != nil {
			t.Fatal(err)
		}
	}
	if text := network(t); strings.Contains(text, "klv") {
		t.Errorf("nodes that are disconnected have left something:\n%s", text)
	}
	if err := s.removeNetwork(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, network(t)); diff != "" {
		t.Errorf("after removal (-want +got):\n%s", diff)
	}
}

// emptyNode returns a process in a network namespace of its own.
func emptyNode(t *testing.T) (pid int, ns netns.NsHandle) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the context has ended it
	ns, err := netns.GetFromPid(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return cmd.Process.Pid, ns
}

// packetSocket sends and receives whole frames on eth0 of a namespace.
func packetSocket(t *testing.T, ns netns.NsHandle) (fd int) {
	t.Helper()
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	inside(t, ns, func() {
		dev, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(all)); err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Index}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// mark is what ends a frame of the test, by which it is known.
func mark(i int) []byte { return []byte{'k', 'l', byte(i)} }

// receive returns the marks of the frames that arrive until the last one does.
func receive(t *testing.T, fd, last int) (marks []int) {
	t.Helper()
	data := make([]byte, 2048)
	for {
		n, err := unix.Read(fd, data)
		if err != nil {
			t.Fatalf("receive after %v: %v", marks, err)
		}
		i := int(data[n-1])
		if !bytes.HasSuffix(data[:n], mark(i)) { // the kernel's own
			continue
		}
		marks = append(marks, i)
		if i == last {
			return marks
		}
	}
}

// frame is a broadcast from a hardware address. Each part begins with its EtherType, which ends the header before it.
func frame(from []byte, parts ...[]byte) []byte {
	f := append(bytes.Repeat([]byte{0xff}, 6), from...)
	return append(f, bytes.Join(parts, nil)...)
}

// tag is the tag of a VLAN, with its type.
func tag(etherType, control uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, etherType), control)
}

// ipv4 is the header of an IP packet around a mark. It has a checksum: bridges check that if br_netfilter is loaded.
func ipv4(from string) []byte {
	header := append([]byte{0x45, 0, 0, byte(20 + len(mark(0))), 0, 0, 0, 0, 64, 17, 0, 0}, netip.MustParseAddr(from).AsSlice()...)
	header = append(header, 10, 246, 9, 3)
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum+sum>>16))
	return append([]byte{0x08, 0x00}, header...)
}

// arp is an ARP packet that says who has an address.
func arp(mac []byte, from string) []byte {
	packet := append([]byte{0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2}, mac...)
	packet = append(packet, netip.MustParseAddr(from).AsSlice()...)
	return append(packet, make([]byte, 10)...)
}
