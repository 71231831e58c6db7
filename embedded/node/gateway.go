package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/netlist"
	"github.com/klkube/kl/embedded/tunnel"
)

// gatewayLink is the interface that has the gateway address. Every node has the same one, so that a connection to it reaches
// the agent of the node it comes from.
const gatewayLink = "kl0"

// gateway listens on the gateway address and pipes each connection through the tunnel to the API server.
type gateway struct {
	address netip.AddrPort
	dialAPI func(ctx context.Context) (net.Conn, error)
	limit   *connLimit
	log     *slog.Logger
}

func (g *gateway) Name() cluster.ComponentName { return "gateway" }

// Run serves until ctx is done.
func (g *gateway) Run(ctx context.Context, ready func()) error {
	if err := ensureGateway(g.address.Addr()); err != nil {
		return fmt.Errorf("make interface %s: %w", gatewayLink, err)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp4", g.address.String())
	if err != nil {
		return fmt.Errorf("listen on gateway: %w", err)
	}
	ready()
	return cluster.Accept(ctx, listener, func(err error) { g.log.Warn("accept on gateway", "err", err) }, g.serve)
}

// gatewayDialTimeout is how long a connection waits while the control plane is down, so that the connections of clients that
// keep retrying do not pile up.
const gatewayDialTimeout = 10 * time.Second

func (g *gateway) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return
	}
	release, err := g.limit.take(from)
	if err != nil {
		return
	}
	defer release()
	dialCtx, cancel := context.WithTimeout(ctx, gatewayDialTimeout)
	api, err := g.dialAPI(dialCtx)
	cancel()
	if err != nil {
		g.log.Debug("dial API server", "err", err)
		return
	}
	tunnel.Pipe(ctx, conn, api)
}

// ensureGateway makes the interface with the address, if it does not exist. Kernels of small virtual machines may lack dummy
// interfaces; a bridge without ports works as well, and nodes in containers need bridges anyway.
func ensureGateway(addr netip.Addr) error {
	attrs := netlink.LinkAttrs{Name: gatewayLink}
	err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
	if errors.Is(err, syscall.EOPNOTSUPP) {
		err = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	}
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	found, err := netlink.LinkByName(gatewayLink)
	if err != nil {
		return err
	}
	err = netlink.AddrAdd(found, &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(32, 32)}})
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("add address %s: %w", addr, err)
	}
	return netlink.LinkSetUp(found)
}

// uplink is how the node reaches the others: the interface of its default route.
type uplink struct {
	name string // of the interface
	addr netip.Addr
	mtu  int
}

// findUplink returns the interface of the default route, or else eth0: an internal network has no default route.
func findUplink() (uplink, error) {
	routes, err := netlist.Routes(&netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
	if err != nil {
		return uplink{}, fmt.Errorf("list default routes: %w", err)
	}
	var errs []error
	for _, r := range routes {
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil {
			errs = append(errs, fmt.Errorf("find interface %d of the default route: %w", r.LinkIndex, err))
			continue
		}
		u, err := uplinkOf(link)
		if err == nil {
			return u, nil
		}
		errs = append(errs, err)
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return uplink{}, errors.Join(append(errs, fmt.Errorf("no usable default route, and find eth0: %w", err))...)
	}
	u, err := uplinkOf(link)
	if err != nil {
		return uplink{}, errors.Join(append(errs, err)...)
	}
	return u, nil
}

func uplinkOf(link netlink.Link) (uplink, error) {
	name := link.Attrs().Name
	addrs, err := netlist.Addresses(link)
	if err != nil {
		return uplink{}, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	for _, a := range addrs {
		if ones, bits := a.Mask.Size(); ones == bits && len(addrs) > 1 {
			continue // a load balancer's, left by an earlier process
		}
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && ip.IsGlobalUnicast() {
			return uplink{name: name, addr: ip, mtu: link.Attrs().MTU}, nil
		}
	}
	return uplink{}, fmt.Errorf("no IPv4 address on %s", name)
}
