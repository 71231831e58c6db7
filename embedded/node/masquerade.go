package node

import (
	"context"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"
)

// masqueradeTable is kl's own table: one rule masquerades traffic of pods that leaves the cluster. Traffic to pods and nodes
// keeps its source address, so that policies and logs see the pod.
const masqueradeTable = "kl"

// writeMasquerade replaces the table. nodes are the addresses of all nodes.
func writeMasquerade(ctx context.Context, nft knftables.Interface, podCIDR string, nodes []netip.Addr) error {
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Flush(&knftables.Table{})
	tx.Add(&knftables.Set{Name: "nodes", Type: "ipv4_addr"})
	tx.Flush(&knftables.Set{Name: "nodes"})
	for _, a := range nodes {
		tx.Add(&knftables.Element{Set: "nodes", Key: []string{a.String()}})
	}
	tx.Add(&knftables.Chain{
		Name:     "postrouting",
		Type:     knftables.PtrTo(knftables.NATType),
		Hook:     knftables.PtrTo(knftables.PostroutingHook),
		Priority: knftables.PtrTo(knftables.SNATPriority),
	})
	tx.Add(&knftables.Rule{
		Chain: "postrouting",
		Rule:  knftables.Concat("ip saddr", podCIDR, "ip daddr !=", podCIDR, "ip daddr != @nodes", "masquerade"),
	})
	return nft.Run(ctx, tx)
}

// nodeAddresses returns the addresses of all nodes, sorted.
func nodeAddresses(nodes []*corev1.Node) []netip.Addr {
	var addrs []netip.Addr
	for _, n := range nodes {
		if a, ok := internalIP(n); ok {
			addrs = append(addrs, a)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}
