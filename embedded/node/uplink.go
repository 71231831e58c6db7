package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster/netlist"
)

// uplinkAddresses is the link of an interface of the kernel, by name.
type uplinkAddresses struct{ name string }

var _ link = uplinkAddresses{}

func (u uplinkAddresses) List() ([]netip.Addr, error) {
	l, err := netlink.LinkByName(u.name)
	if err != nil {
		return nil, err
	}
	list, err := netlist.Addresses(l)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range list {
		if ones, bits := a.Mask.Size(); ones != bits {
			continue
		}
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			addrs = append(addrs, ip)
		}
	}
	return addrs, nil
}

func (u uplinkAddresses) Add(addr netip.Addr) error {
	return u.change(addr, netlink.AddrAdd, syscall.EEXIST)
}

func (u uplinkAddresses) Remove(addr netip.Addr) error {
	return u.change(addr, netlink.AddrDel, syscall.EADDRNOTAVAIL)
}

func (u uplinkAddresses) change(addr netip.Addr, f func(netlink.Link, *netlink.Addr) error, done error) error {
	l, err := netlink.LinkByName(u.name)
	if err != nil {
		return err
	}
	err = f(l, &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(32, 32)}})
	if errors.Is(err, done) {
		return nil
	}
	return err
}

// Announce sends gratuitous ARP: neighbours that have another MAC address in their caches update it.
func (u uplinkAddresses) Announce(addrs []netip.Addr) error {
	l, err := net.InterfaceByName(u.name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: it receives nothing
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: l.Index, Halen: 6}
	var errs []error
	for _, addr := range addrs {
		for _, op := range []uint16{arpRequest, arpReply} { // some neighbours accept only one of them
			errs = append(errs, unix.Sendto(fd, gratuitousARP(op, l.HardwareAddr, addr), 0, to))
		}
	}
	return errors.Join(errs...)
}

const (
	arpRequest = 1
	arpReply   = 2
)

// gratuitousARP returns a broadcast Ethernet frame with addr as sender and target.
func gratuitousARP(op uint16, mac net.HardwareAddr, addr netip.Addr) []byte {
	broadcast := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	ip := addr.As4()
	f := append([]byte(nil), broadcast...)
	f = append(f, mac...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_ARP)
	f = append(f, 0, 1, 8, 0, 6, 4) // Ethernet, IPv4, and the lengths of their addresses
	f = binary.BigEndian.AppendUint16(f, op)
	f = append(append(f, mac...), ip[:]...)
	return append(append(f, mac...), ip[:]...) // Linux takes a reply for gratuitous only if the target is set too
}
