//go:build linux

package native

import (
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster/netlist"
)

// ownNetwork moves the test to an empty network namespace, which is removed with the test's thread when the test ends.
func ownNetwork(t *testing.T) {
	t.Helper()
	machine(t)
	runtime.LockOSThread() // and never unlocked
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// network describes all interfaces and rules of the test's network namespace.
func network(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	links, err := netlist.Whole(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		fmt.Fprintln(&b, "interface", l.Attrs().Name)
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	chains, err := c.ListChains()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if !slices.ContainsFunc(chains, func(c *nftables.Chain) bool { return c.Table.Name == table.Name && c.Table.Family == table.Family }) {
			fmt.Fprintln(&b, "empty table", table.Name)
		}
	}
	for _, chain := range chains {
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, "chain", chain.Table.Name, chain.Name, "with", len(rules), "rules")
	}
	return b.String()
}

// dropAll makes a firewall that drops forwarded packets.
func dropAll(t *testing.T, family nftables.TableFamily, table string) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	drop := nftables.ChainPolicyDrop
	c.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: c.AddTable(&nftables.Table{Family: family, Name: table}), Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestNetworkComesAndGoes(t *testing.T) {
	subnet := netip.MustParsePrefix("10.246.9.0/24")
	s := scope{"01234567"}
	for _, c := range []struct {
		name     string
		firewall func(*testing.T)
		want     string
	}{
		{"no firewall", func(*testing.T) {}, ""},
		{"iptables", func(t *testing.T) { dropAll(t, nftables.TableFamilyIPv4, "filter") }, "chain filter FORWARD with 2 rules\n"},
		{"firewalld", func(t *testing.T) { dropAll(t, nftables.TableFamilyINet, "firewalld") }, "chain firewalld FORWARD with 2 rules\n"},
		{"IPv6 only", func(t *testing.T) { dropAll(t, nftables.TableFamilyIPv6, "filter") }, "chain filter FORWARD with 0 rules\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ownNetwork(t)
			c.firewall(t)
			before := network(t)
			for range 2 { // the second time changes nothing
				if err := s.ensureNetwork(subnet); err != nil {
					t.Fatal(err)
				}
				want := strings.Split(before, "chain ")[0] + "interface kl-01234567\n" + c.want + "chain kl-01234567 postrouting with 1 rules\nchain kl-01234567 forward with 2 rules\n"
				if diff := cmp.Diff(want, network(t)); diff != "" {
					t.Errorf("network (-want +got):\n%s", diff)
				}
			}
			if have, ok := s.bridgeSubnet(); !ok || have != subnet {
				t.Errorf("subnet of the bridge: %s %t", have, ok)
			}
			for range 2 {
				if err := s.removeNetwork(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(before, network(t)); diff != "" {
					t.Errorf("after removal (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestLegacyFirewall(t *testing.T) {
	ownNetwork(t)
	iptables, err := exec.LookPath("iptables-legacy")
	if err != nil {
		t.Skip("SKIPPED: no iptables-legacy on this machine (Debian: iptables)")
	}
	list := func() string {
		t.Helper()
		out, err := call(iptables, "-S", "FORWARD")
		if err != nil {
			t.Skipf("SKIPPED: this kernel has no legacy iptables: %v", err)
		}
		return out
	}
	list()
	if _, err := call(iptables, "-P", "FORWARD", "DROP"); err != nil {
		t.Fatal(err)
	}
	before := list()
	s := scope{"01234567"}
	for range 2 {
		if err := s.ensureNetwork(netip.MustParsePrefix("10.246.9.0/24")); err != nil {
			t.Fatal(err)
		}
		want := before + `-A FORWARD -i kl-01234567 -m comment --comment kl-01234567 -j ACCEPT
-A FORWARD -o kl-01234567 -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment kl-01234567 -j ACCEPT
`
		if diff := cmp.Diff(want, list()); diff != "" {
			t.Errorf("rules (-want +got):\n%s", diff)
		}
	}
	if err := s.removeNetwork(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, list()); diff != "" {
		t.Errorf("after removal (-want +got):\n%s", diff)
	}
}
