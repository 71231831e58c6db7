package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// wire sends packets to a neighbour, the gateway as a rule, below the IP stack, which would not let a pod send what forge and syn send.
type wire struct {
	fd      int
	dev     *net.Interface
	own     netip.Addr
	gateway netip.Addr
	mac     net.HardwareAddr // of the gateway
}

// openWire finds eth0's address and gateway, and learns the gateway's MAC address. If via is not empty, it is used as the gateway.
func openWire(ctx context.Context, via string) (*wire, error) {
	dev, err := net.InterfaceByName("eth0")
	if err != nil {
		return nil, err
	}
	w := &wire{dev: dev}
	addrs, err := dev.Addrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			w.own = p.Addr()
		}
	}
	if via != "" {
		if w.gateway, err = netip.ParseAddr(via); err != nil {
			return nil, err
		}
	} else if err := w.findGateway(); err != nil {
		return nil, err
	}
	if err := w.findMAC(ctx); err != nil {
		return nil, err
	}
	w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, int(htons(unix.ETH_P_ALL)))
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	return w, unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: dev.Index})
}

// findGateway reads the default route.
func (w *wire) findGateway() error {
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(routes)) {
		var dev string
		var dst, gw uint32
		if n, _ := fmt.Sscanf(line, "%s %x %x", &dev, &dst, &gw); n == 3 && dst == 0 {
			w.gateway = netip.AddrFrom4([4]byte(binary.LittleEndian.AppendUint32(nil, gw)))
		}
	}
	return nil
}

// findMAC sends something to the gateway and then reads the kernel's ARP table.
func (w *wire) findMAC(ctx context.Context) error {
	c, err := new(net.Dialer).DialContext(ctx, "udp", net.JoinHostPort(w.gateway.String(), "9"))
	if err != nil {
		return err
	}
	defer c.Close()
	return retry(ctx, 5*time.Second, func(context.Context) error {
		_, _ = c.Write([]byte{0}) // refused, but asks for the MAC address
		table, err := os.ReadFile("/proc/net/arp")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(table)) {
			if f := strings.Fields(line); len(f) > 3 && f[0] == w.gateway.String() && f[3] != "00:00:00:00:00:00" {
				w.mac, err = net.ParseMAC(f[3])
				return err
			}
		}
		return errors.New("the gateway does not answer ARP")
	})
}

func (w *wire) send(protocol uint16, packet []byte) error {
	to := &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: w.dev.Index, Halen: 6}
	copy(to.Addr[:], w.mac)
	return unix.Sendto(w.fd, packet, 0, to)
}

// forge sends three packets (udp, tcp or arp) with another source address.
func forge(ctx context.Context, out io.Writer, kind, from, via, to string) error {
	w, err := openWire(ctx, via)
	if err != nil {
		return err
	}
	source, err := netip.ParseAddr(from)
	if err != nil {
		return err
	}
	protocol, packet := uint16(unix.ETH_P_ARP), []byte(nil)
	if kind == "arp" {
		packet = append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, w.dev.HardwareAddr...)
		packet = append(append(append(packet, source.AsSlice()...), make([]byte, 6)...), w.gateway.AsSlice()...)
	} else {
		target, err := netip.ParseAddrPort(to)
		if err != nil {
			return err
		}
		protocol, packet = ipPacket(kind, netip.AddrPortFrom(source, 4321), target, "forged")
	}
	for range 3 {
		if err := w.send(protocol, packet); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Fprintln(out, "sent")
	return nil
}

// syn sends the first packet of a TCP connection to any address through the gateway, and succeeds if an answer comes.
func syn(ctx context.Context, out io.Writer, to string) error {
	w, err := openWire(ctx, "")
	if err != nil {
		return err
	}
	target, err := netip.ParseAddrPort(to)
	if err != nil {
		return err
	}
	own := netip.AddrPortFrom(w.own, uint16(20000+os.Getpid()%20000))
	protocol, packet := ipPacket("tcp", own, target, "")
	if err := w.send(protocol, packet); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for began := time.Now(); time.Since(began) < 2*time.Second; {
		n, _, err := unix.Recvfrom(w.fd, buf, 0)
		if err != nil || n < 40 || buf[0]>>4 != 4 {
			continue
		}
		tcp := buf[int(buf[0]&15)*4 : n]
		source := netip.AddrFrom4([4]byte(buf[12:16]))
		if source == target.Addr() && binary.BigEndian.Uint16(tcp) == target.Port() && binary.BigEndian.Uint16(tcp[2:]) == own.Port() {
			fmt.Fprintln(out, "answered")
			return nil
		}
	}
	return errors.New("no answer")
}

// ipPacket makes a datagram, or the first segment of a TCP connection.
func ipPacket(kind string, from, to netip.AddrPort, text string) (protocol uint16, packet []byte) {
	number, body := byte(unix.IPPROTO_UDP), make([]byte, 8, 64)
	if kind == "tcp" {
		number, body = unix.IPPROTO_TCP, make([]byte, 20, 64)
	}
	binary.BigEndian.PutUint16(body, from.Port())
	binary.BigEndian.PutUint16(body[2:], to.Port())
	sum := 6
	if kind == "tcp" {
		body[12], body[13], body[14], sum = 5<<4, 2, 16, 16 // header of 20 bytes, SYN, window
	} else {
		body = append(body, text...)
		binary.BigEndian.PutUint16(body[4:], uint16(len(body)))
	}
	pseudo := append(append([]byte{}, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, number, byte(len(body)>>8), byte(len(body)))
	binary.BigEndian.PutUint16(body[sum:], checksum(append(pseudo, body...)))
	if from.Addr().Is6() {
		head := []byte{0x60, 0, 0, 0, byte(len(body) >> 8), byte(len(body)), number, 64}
		return unix.ETH_P_IPV6, append(append(append(head, from.Addr().AsSlice()...), to.Addr().AsSlice()...), body...)
	}
	head := []byte{0x45, 0, 0, byte(20 + len(body)), 0, 1, 0, 0, 64, number, 0, 0}
	head = append(append(head, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(head[10:], checksum(head))
	return unix.ETH_P_IP, append(head, body...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
