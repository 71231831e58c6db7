//go:build linux

package native

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/google/nftables/xt"
)

// ensureRules makes the cluster's own table, and accept rules for its bridge in the chains of other firewalls. The table
// masquerades what nodes send elsewhere, and drops what others want to send to nodes: the machine is no router for its neighbours,
// whatever its other firewalls accept. Ports are published by a process of the machine, whose packets are not forwarded. It is
// idempotent.
func (s scope) ensureRules(subnet netip.Prefix) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: s.table()})
	chain := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.FlushChain(chain)
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(
		from(subnet), iface(expr.MetaKeyOIFNAME, expr.CmpOpNeq, s.bridge()), []expr.Any{&expr.Masq{}},
	)})
	forward := c.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	c.FlushChain(forward)
	in := slices.Concat(iface(expr.MetaKeyOIFNAME, expr.CmpOpEq, s.bridge()), iface(expr.MetaKeyIIFNAME, expr.CmpOpNeq, s.bridge()))
	c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: slices.Concat(in, established(table), []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}})})
	c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: slices.Concat(in, []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("make nftables table %s: %w", s.table(), err)
	}
	return errors.Join(s.passFirewalls(c), s.passLegacyFirewall())
}

// passFirewalls adds accept rules to every chain that drops forwarded packets by default, as Docker's does: there, a
// packet between two nodes of the bridge is dropped too if br_netfilter is loaded. An accept in a table of our own would
// not help: a packet must be accepted by every table.
func (s scope) passFirewalls(c *nftables.Conn) error {
	chains, err := c.ListChains()
	if err != nil {
		return fmt.Errorf("list nftables chains: %w", err)
	}
	for _, chain := range chains {
		if !drops(chain) {
			continue
		}
		mine, err := s.rulesIn(c, chain)
		if err != nil {
			return err
		}
		if len(mine) > 0 {
			continue
		}
		comment := userdata.AppendString(nil, userdata.TypeComment, s.table())
		accept := []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}}
		out := slices.Concat(iface(expr.MetaKeyIIFNAME, expr.CmpOpEq, s.bridge()), accept)
		back := slices.Concat(iface(expr.MetaKeyOIFNAME, expr.CmpOpEq, s.bridge()), established(chain.Table), accept)
		for _, exprs := range [][]expr.Any{back, out} {
			c.InsertRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: exprs, UserData: comment})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("let bridge %s pass the firewall: %w", s.bridge(), err)
	}
	return nil
}

// drops reports whether a chain filters forwarded IPv4 packets and drops by default.
func drops(c *nftables.Chain) bool {
	return (c.Table.Family == nftables.TableFamilyIPv4 || c.Table.Family == nftables.TableFamilyINet) &&
		c.Type == nftables.ChainTypeFilter && c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward &&
		c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
}

// rulesIn returns the cluster's rules in a chain that another program owns.
func (s scope) rulesIn(c *nftables.Conn, chain *nftables.Chain) ([]*nftables.Rule, error) {
	rules, err := c.GetRules(chain.Table, chain)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // the chain was removed in the meantime
	}
	if err != nil {
		return nil, fmt.Errorf("list the rules of nftables chain %s %s: %w", chain.Table.Name, chain.Name, err)
	}
	return slices.DeleteFunc(rules, func(r *nftables.Rule) bool {
		comment, ok := userdata.GetString(r.UserData, userdata.TypeComment)
		return !ok || comment != s.table()
	}), nil
}

// removeRules removes everything that ensureRules and pin made.
func (s scope) removeRules() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	tables, err := c.ListTables()
	if err != nil {
		return fmt.Errorf("list nftables tables: %w", err)
	}
	for _, t := range tables {
		if (t.Family == nftables.TableFamilyIPv4 || t.Family == nftables.TableFamilyNetdev) && t.Name == s.table() {
			c.DelTable(t)
		}
	}
	chains, err := c.ListChains()
	if err != nil {
		return fmt.Errorf("list nftables chains: %w", err)
	}
	for _, chain := range chains {
		if chain.Hooknum == nil || *chain.Hooknum != *nftables.ChainHookForward {
			continue
		}
		mine, err := s.rulesIn(c, chain)
		if err != nil {
			return err
		}
		for _, r := range mine {
			if err := c.DelRule(r); err != nil {
				return fmt.Errorf("remove nftables rule: %w", err)
			}
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove nftables rules of %s: %w", s.table(), err)
	}
	return s.removeLegacyRules()
}

// from matches packets from a range.
func from(p netip.Prefix) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

// iface compares the name of the interface that a packet arrives on or leaves by.
func iface(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	padded := append([]byte(name), bytes.Repeat([]byte{0}, 16-len(name))...)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: padded}}
}

// established matches packets of known connections. In tables of iptables it is the match that iptables itself would use:
// iptables refuses to list a table with expressions it does not know.
func established(t *nftables.Table) []expr.Any {
	if t.Family == nftables.TableFamilyIPv4 && t.Name == "filter" {
		info := xt.ConntrackMtinfo3{ConntrackMtinfo2: xt.ConntrackMtinfo2{
			ConntrackMtinfoBase: xt.ConntrackMtinfoBase{MatchFlags: 1}, // state
			StateMask:           1<<1 | 1<<2,                           // established, related
		}}
		return []expr.Any{&expr.Match{Name: "conntrack", Rev: 3, Info: &info}}
	}
	states := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: states, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}
