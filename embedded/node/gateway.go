package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/tunnel"
)

// gatewayLink is the interface that holds the gateway address. It is the same address on every node: who connects to it
// reaches the agent of the node it is on.
const gatewayLink = "kl0"

// gateway offers the API server on the gateway address: each connection is piped through the tunnel.
type gateway struct {
	address netip.AddrPort
	dialAPI func(ctx context.Context) (net.Conn, error)
	log     *slog.Logger
}

func (g *gateway) Name() cluster.ComponentName { return "gateway" }

// Run is a lifecycle.Component.
func (g *gateway) Run(ctx context.Context, ready func()) error {
	if err := ensureGateway(g.address.Addr()); err != nil {
		return fmt.Errorf("make interface %s: %w", gatewayLink, err)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp4", g.address.String())
	if err != nil {
		return fmt.Errorf("listen on gateway: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	ready()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("accept on gateway: %w", err)
		}
		conns.Go(func() { g.serve(ctx, conn) })
	}
}

// dialPatience is how long a connection waits while the control plane is away: clients that try again every few seconds
// for hours must not pile up.
const dialPatience = 10 * time.Second

func (g *gateway) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	dialCtx, cancel := context.WithTimeout(ctx, dialPatience)
	api, err := g.dialAPI(dialCtx)
	cancel()
	if err != nil {
		g.log.Debug("dial API server", "err", err)
		return
	}
	tunnel.Pipe(ctx, conn, api)
}

// ensureGateway makes the interface with the address, if it does not exist. Kernels of small virtual machines may have
// no dummy interfaces; a bridge without ports does as well, and nodes in containers are on one themselves.
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

// findUplink looks at the default route; a network without one (an internal one) has a single interface besides ours.
func findUplink() (uplink, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
	if err != nil {
		return uplink{}, fmt.Errorf("list default routes: %w", err)
	}
	for _, r := range routes {
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil {
			continue
		}
		if u, ok := uplinkOf(link); ok {
			return u, nil
		}
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return uplink{}, errors.New("no default route and no eth0")
	}
	if u, ok := uplinkOf(link); ok {
		return u, nil
	}
	return uplink{}, errors.New("no IPv4 address on the default route's interface")
}

func uplinkOf(link netlink.Link) (uplink, bool) {
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return uplink{}, false
	}
	for _, a := range addrs {
		if ones, bits := a.Mask.Size(); ones == bits && len(addrs) > 1 {
			continue // a load balancer's, left by an earlier process
		}
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && ip.IsGlobalUnicast() {
			return uplink{name: link.Attrs().Name, addr: ip, mtu: link.Attrs().MTU}, true
		}
	}
	return uplink{}, false
}
