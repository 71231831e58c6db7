package policy

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"

	"github.com/klkube/kl/cluster/netlist"
	"github.com/klkube/kl/cluster/policy"
)

// EdgeTable is the name of the inet and arp tables that refuse packets with addresses they must not have.
const EdgeTable = "kl-edge"

// GuardEdge programs the rules that hold whatever the policies are: nothing from another interface reaches the node's loopback
// addresses, and, if pods is true, an IP packet of a pod has the pod's own address as its source. They need no objects, since the
// kernel's route to each pod says which address belongs to which interface.
func GuardEdge(ctx context.Context, cfg Config, pods bool) error {
	nft, err := knftables.New(knftables.InetFamily, EdgeTable)
	if err != nil {
		return fmt.Errorf("find nft: %w", err)
	}
	return writeEdge(ctx, nft, cfg.withDefaults(), pods)
}

// EdgeGuarded reports whether the rules of GuardEdge are in the kernel. If that cannot be found out, they are taken to be missing.
func EdgeGuarded(ctx context.Context) bool {
	nft, err := knftables.New(knftables.InetFamily, EdgeTable)
	if err != nil {
		return false
	}
	chains, err := nft.List(ctx, "chains")
	return err == nil && slices.Contains(chains, chainSpoofed)
}

const chainSpoofed = "spoofed"

// writeEdge replaces the table. Its chain comes before connection tracking: a refused packet is part of no connection.
func writeEdge(ctx context.Context, nft knftables.Interface, cfg Config, pods bool) error {
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("addresses that packets must not have")})
	tx.Add(&knftables.Chain{Name: chainSpoofed})
	tx.Add(&knftables.Chain{
		Name: "prerouting", Type: knftables.PtrTo(knftables.FilterType), Hook: knftables.PtrTo(knftables.PreroutingHook),
		Priority: knftables.PtrTo(knftables.RawPriority),
	})
	veth := strconv.Quote(cfg.PodInterface)
	var rules []string
	if pods {
		rules = append(rules,
			fmt.Sprintf("iifname %s meta nfproto ipv4 fib saddr . iif oif missing goto %s", veth, chainSpoofed),
			fmt.Sprintf("iifname %s ip6 saddr != { ::, fe80::/10 } goto %s", veth, chainSpoofed)) // pods have link-local IPv6 only
	}
	// Interfaces of pods with host ports accept packets for loopback addresses, since such a port also works on 127.0.0.1.
	rules = append(rules, `iifname != "lo" ip daddr 127.0.0.0/8 drop`, `iifname != "lo" ip saddr 127.0.0.0/8 drop`)
	for _, r := range rules {
		tx.Add(&knftables.Rule{Chain: "prerouting", Rule: r})
	}
	for _, r := range refuse(cfg) {
		tx.Add(&knftables.Rule{Chain: chainSpoofed, Rule: r})
	}
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("program table %s: %w", EdgeTable, err)
	}
	return nil
}

// refuse returns the rules that log and drop a packet with the address of another.
func refuse(cfg Config) []string {
	prefix := logPrefix{logSpoofed, policy.Egress, ""}
	return []string{fmt.Sprintf("limit rate 50/second burst 100 packets log prefix %q group %d snaplen 64", prefix, cfg.LogGroup), "drop"}
}

// podLink is the node's end of a pod's link, and the address that is routed to it.
type podLink struct {
	index int
	name  string
	addr  netip.Addr
}

// podLinks reads the pods' links from the kernel's routes, sorted by address. pattern is that of Config.PodInterface.
func podLinks(pattern string) ([]podLink, error) {
	links, err := netlist.Whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	prefix := strings.TrimSuffix(pattern, "*")
	names := map[int]string{}
	for _, l := range links {
		if a := l.Attrs(); strings.HasPrefix(a.Name, prefix) {
			names[a.Index] = a.Name
		}
	}
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN}
	routes, err := netlist.Routes(filter, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []podLink
	for _, r := range routes {
		if r.Dst == nil || names[r.LinkIndex] == "" {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP)
		if ones, bits := r.Dst.Mask.Size(); ok && ones == bits {
			out = append(out, podLink{r.LinkIndex, names[r.LinkIndex], addr.Unmap()})
		}
	}
	slices.SortFunc(out, func(a, b podLink) int { return a.addr.Compare(b.addr) })
	return out, nil
}

// senderAt returns the address of the pod behind an interface; the zero value if there is none any more.
func senderAt(pattern string) func(index uint32) netip.Addr {
	return func(index uint32) netip.Addr {
		links, err := podLinks(pattern)
		if err != nil {
			return netip.Addr{}
		}
		for _, l := range links {
			if l.index == int(index) {
				return l.addr
			}
		}
		return netip.Addr{}
	}
}

// arpGuard refuses ARP packets of pods with an address that is not theirs. In the arp family there are no routes to compare
// with, so it keeps the pods' links in a set.
type arpGuard struct {
	cfg     Config
	nft     knftables.Interface // nil: the kernel has no arp family, and nothing is done
	current []podLink
	written bool
}

func newARPGuard(cfg Config) *arpGuard {
	nft, err := knftables.New(knftables.ARPFamily, EdgeTable)
	if err != nil {
		cfg.Logger.Warn("pods' ARP packets are not checked", "err", err)
		return &arpGuard{cfg: cfg}
	}
	return &arpGuard{cfg: cfg, nft: nft}
}

// forgetARP removes the rules of an earlier agent: without one to keep the set, new pods would be cut off. It does nothing if the
// kernel has no arp family.
func forgetARP(ctx context.Context) {
	nft, err := knftables.New(knftables.ARPFamily, EdgeTable)
	if err != nil {
		return
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	_ = nft.Run(ctx, tx)
}

// apply brings the set in line with the pods' links, if they have changed.
func (g *arpGuard) apply(ctx context.Context) error {
	if g.nft == nil {
		return nil
	}
	links, err := podLinks(g.cfg.PodInterface)
	if err != nil || g.written && slices.Equal(links, g.current) {
		return err
	}
	tx := g.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{})
	tx.Add(&knftables.Set{Name: "pods", Type: "ifname . ipv4_addr"})
	for _, l := range links {
		tx.Add(&knftables.Element{Set: "pods", Key: []string{strconv.Quote(l.name), l.addr.String()}})
	}
	tx.Add(&knftables.Chain{
		Name: "input", Type: knftables.PtrTo(knftables.FilterType), Hook: knftables.PtrTo(knftables.InputHook),
		Priority: knftables.PtrTo(knftables.FilterPriority),
	})
	tx.Add(&knftables.Rule{Chain: "input", Rule: fmt.Sprintf("iifname != %q accept", g.cfg.PodInterface)})
	tx.Add(&knftables.Rule{Chain: "input", Rule: "arp saddr ip 0.0.0.0 accept"}) // asks whether an address is taken
	tx.Add(&knftables.Rule{Chain: "input", Rule: "iifname . arp saddr ip @pods accept"})
	for _, r := range refuse(g.cfg) {
		tx.Add(&knftables.Rule{Chain: "input", Rule: r})
	}
	if err := g.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("program arp table %s: %w", EdgeTable, err)
	}
	g.current, g.written = links, true
	return nil
}
