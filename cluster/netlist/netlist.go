//go:build linux

// Package netlist lists what the kernel has of links, addresses, routes and rules, and lists all of it. The kernel sends such a
// list piece by piece, and pods come and go meanwhile: then a piece may be missing.
//
//	links, err := netlist.Whole(netlink.LinkList)
package netlist

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// attempts is far more than a list of hundreds of links takes while something changes all the time.
const attempts = 20

// Whole calls list again for as long as the kernel says that its list changed while it was sent. After 20 such lists it returns
// netlink.ErrDumpInterrupted, with the last one.
func Whole[T any](list func() ([]T, error)) ([]T, error) {
	for n := 1; ; n++ {
		out, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || n == attempts {
			return out, err
		}
	}
}

// Addresses lists the IPv4 addresses of a link.
func Addresses(l netlink.Link) ([]netlink.Addr, error) {
	return Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_V4) })
}

// Routes lists the IPv4 routes that have in common with filter what mask names, a sum of netlink.RT_FILTER_….
func Routes(filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	return Whole(func() ([]netlink.Route, error) { return netlink.RouteListFiltered(netlink.FAMILY_V4, filter, mask) })
}
