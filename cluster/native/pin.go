//go:build linux

package native

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// pin keeps a node from sending with the addresses of another. A chain on the host's end of its veth pair drops what has the IP or
// hardware address of another node or of the gateway as its source, and ARP packets that say so. Other addresses pass: a node forwards
// for its pods and announces addresses of load balancers. The addresses of a node stay reserved while the cluster has a network, so
// that nobody takes those of a node that is stopped. It is called before the link comes up.
func (s scope) pin(node string, addr, gateway netip.Addr) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := c.AddTable(s.pins())
	ips := &nftables.Set{Table: table, Name: "addresses", KeyType: nftables.TypeIPAddr}
	macs := &nftables.Set{Table: table, Name: "hardware", KeyType: nftables.TypeEtherAddr}
	for set, keys := range map[*nftables.Set][][]byte{ips: {gateway.AsSlice(), addr.AsSlice()}, macs: {s.mac("bridge"), s.mac(node)}} {
		var elements []nftables.SetElement
		for _, key := range keys {
			elements = append(elements, nftables.SetElement{Key: key})
		}
		if err := c.AddSet(set, elements); err != nil {
			return fmt.Errorf("make nftables set %s of table %s: %w", set.Name, table.Name, err)
		}
	}
	chain := c.AddChain(&nftables.Chain{
		Name: s.veth(node), Table: table, Type: nftables.ChainTypeFilter, Device: s.veth(node),
		Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter,
	})
	for _, match := range [][]expr.Any{
		priorityTagged(unix.ETH_P_8021Q),
		priorityTagged(unix.ETH_P_8021AD),
		others(&expr.Payload{Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6}, s.mac(node), macs), // source
		slices.Concat(protocol(unix.ETH_P_IP), others(&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, addr.AsSlice(), ips)),
		slices.Concat(protocol(unix.ETH_P_ARP), others(&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 6}, s.mac(node), macs)),
		slices.Concat(protocol(unix.ETH_P_ARP), others(&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 14, Len: 4}, addr.AsSlice(), ips)),
	} {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(match, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("pin node %s to its address: %w", node, err)
	}
	return nil
}

// pins is the table of pin.
func (s scope) pins() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyNetdev, Name: s.table()}
}

// disconnect removes the host's end of a node's veth pair, and what pins the node to its address. It returns nil if there is none.
func (s scope) disconnect(node string) error {
	return errors.Join(removeLink(s.veth(node)), s.unpin(node))
}

// unpin removes the chain of pin. Kernels before 6.16 do so when they remove the link.
func (s scope) unpin(node string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyNetdev)
	if err != nil {
		return fmt.Errorf("list nftables chains: %w", err)
	}
	for _, chain := range chains {
		if chain.Table.Name != s.table() || chain.Name != s.veth(node) {
			continue
		}
		c.DelChain(chain)
		if err := c.Flush(); err != nil && !errors.Is(err, os.ErrNotExist) { // it was removed in the meantime
			return fmt.Errorf("remove nftables chain %s: %w", chain.Name, err)
		}
	}
	return nil
}

// protocol matches frames of an EtherType.
func protocol(etherType uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(etherType)},
	}
}

// others matches frames whose field is in a set and is not the node's own.
func others(field *expr.Payload, own []byte, set *nftables.Set) []expr.Any {
	field.DestRegister = 1
	return []expr.Any{
		field,
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: own},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

// priorityTagged matches frames with a tag of VLAN 0. Nobody needs them, and a receiver takes any number of such tags off, while the
// rules see what is below the first one alone.
func priorityTagged(etherType uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 12, Len: 4}, // type, priority and VLAN
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{0xff, 0xff, 0x0f, 0xff}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append(binaryutil.BigEndian.PutUint16(etherType), 0, 0)},
	}
}
