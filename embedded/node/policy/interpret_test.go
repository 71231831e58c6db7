package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"

	"github.com/klkube/kl/cluster/policy"
	"github.com/klkube/kl/cluster/policy/policytest"
)

// conn is the first packet of a connection, as the forward or the input hook sees it.
type conn struct {
	from, to       netip.Addr
	proto          corev1.Protocol
	port           uint16
	iifPod, oifPod bool
}

// judge runs a connection through a ruleset, starting at a chain, as the kernel would: a small interpreter of the statements
// that program uses. It returns "" if the chain ends without a verdict.
func (r *ruleset) judge(t *testing.T, chain string, c conn) string {
	t.Helper()
	for _, rule := range r.chains[chain].rules {
		verdict := r.match(t, strings.Fields(rule), c)
		kind, to, _ := strings.Cut(verdict, " ")
		switch kind {
		case "":
		case "jump":
			if v := r.judge(t, to, c); v != "" {
				return v
			}
		case "goto":
			return r.judge(t, to, c)
		case "accept", "drop":
			return kind
		default:
			t.Fatalf("verdict %q in %q", verdict, rule)
		}
	}
	return ""
}

// match returns the verdict of a rule, "" if it does not match or has none.
func (r *ruleset) match(t *testing.T, words []string, c conn) string {
	t.Helper()
	for len(words) > 0 {
		text := strings.Join(words, " ")
		var ok bool
		take := 0
		switch {
		case words[0] == "counter", words[0] == "limit", words[0] == "log":
			return statement(text)
		case words[0] == "accept", words[0] == "drop", words[0] == "goto", words[0] == "jump":
			return text
		case words[0] == "iifname":
			take, ok = 2, c.iifPod
		case words[0] == "oifname":
			take, ok = 2, c.oifPod
		case strings.HasPrefix(text, "meta nfproto "):
			take, ok = 3, words[2] == "ipv4"
		case strings.HasPrefix(text, "meta l4proto "):
			take, ok = 3, strings.EqualFold(words[2], string(c.proto))
		case strings.HasPrefix(text, "ip daddr "):
			take, ok = 3, words[2] == c.to.String()
		case strings.HasPrefix(text, "ct direction original"), strings.HasPrefix(text, "ct state new"):
			take, ok = 3, true
		case strings.HasPrefix(text, "ct state "):
			take, ok = 3, false
		case strings.HasPrefix(text, port+" @"):
			take, ok = 4, r.hasPort(words[3][1:], c.port)
		case strings.HasPrefix(text, port+" "):
			take, ok = 4, words[3] == fmt.Sprint(c.port)
		case strings.HasPrefix(text, source+" . "+target+" @"):
			take, ok = 10, r.has(words[9][1:], c.from.String()+" . "+c.to.String())
		case strings.HasPrefix(text, source+" vmap @"):
			return r.sets[words[5][1:]].elements[c.from.String()]
		case strings.HasPrefix(text, target+" vmap @"):
			return r.sets[words[5][1:]].elements[c.to.String()]
		case strings.HasPrefix(text, source+" @"):
			take, ok = 5, r.hasAddr(words[4][1:], c.from)
		case strings.HasPrefix(text, target+" @"):
			take, ok = 5, r.hasAddr(words[4][1:], c.to)
		default:
			t.Fatalf("statement %q", text)
		}
		if !ok {
			return ""
		}
		words = words[take:]
	}
	return ""
}

// statement is the verdict behind counters and logs: in this program those are rules of their own.
func statement(text string) string {
	for _, v := range []string{"accept", "drop"} {
		if strings.HasSuffix(text, " "+v) {
			return v
		}
	}
	return ""
}

func (r *ruleset) has(set, key string) bool {
	_, ok := r.sets[set].elements[key]
	return ok
}

func (r *ruleset) hasAddr(set string, a netip.Addr) bool {
	for e := range r.sets[set].elements {
		from, to, isRange := strings.Cut(e, "-")
		if !isRange {
			to = from
		}
		if netip.MustParseAddr(from).Compare(a) <= 0 && a.Compare(netip.MustParseAddr(to)) <= 0 {
			return true
		}
	}
	return false
}

func (r *ruleset) hasPort(set string, port uint16) bool {
	for e := range r.sets[set].elements {
		var from, to uint16
		if n, _ := fmt.Sscanf(e, "%d-%d", &from, &to); n == 1 {
			to = from
		}
		if from <= port && port <= to {
			return true
		}
	}
	return false
}

// FuzzProgram checks, for random clusters, that the rules of a node give the verdicts of the model for its own pods, drop
// what belongs to no known pod, and that getting there in steps leads to the same table as at once.
func FuzzProgram(f *testing.F) {
	for seed := range 64 {
		f.Add([]byte{byte(seed), byte(seed * 7), byte(seed * 31)})
	}
	cfg := Config{Node: "n0", Gateway: netip.MustParseAddr(policytest.Gateway)}.withDefaults()
	f.Fuzz(func(t *testing.T, data []byte) {
		o := policytest.Objects(data)
		m := policy.Compile(o, policy.Options{Gateway: cfg.Gateway})
		r := compile(m, cfg)
		r.chain(chainApprove, "accept") // as Table fills it
		checkVerdicts(t, m, r, policytest.Addrs(o))

		stepwise := NewTable(knftables.NewFake(knftables.InetFamily, TableName))
		apply(t, stepwise, compile(nil, cfg))
		fewer := o
		fewer.Policies, fewer.Pods = o.Policies[:len(o.Policies)/2], o.Pods[len(o.Pods)/3:]
		apply(t, stepwise, compile(policy.Compile(fewer, policy.Options{Gateway: cfg.Gateway}), cfg))
		apply(t, stepwise, compile(m, cfg))
		atOnce := NewTable(knftables.NewFake(knftables.InetFamily, TableName))
		apply(t, atOnce, compile(m, cfg))
		if diff := cmp.Diff(dump(atOnce), dump(stepwise)); diff != "" {
			t.Fatalf("table (-at once +stepwise):\n%s", diff)
		}
		applies := stepwise.stats.Applies
		if apply(t, stepwise, compile(m, cfg)); stepwise.stats.Applies != applies {
			t.Fatal("the same rules were programmed twice")
		}
	})
}

func checkVerdicts(t *testing.T, m *policy.Model, r *ruleset, addrs []string) {
	t.Helper()
	local := func(a netip.Addr) bool {
		return netip.MustParsePrefix("10.244.0.0/24").Contains(a) && a != netip.MustParseAddr("10.244.0.1")
	}
	// side is the node's verdict for one end.
	side := func(a netip.Addr, d policy.Direction, decision policy.Decision) bool {
		switch p := m.PodAt(a); {
		case !local(a):
			return true
		case p == nil:
			return !m.Isolates(d)
		default:
			return decision.Allowed
		}
	}
	for _, f := range addrs {
		for _, to := range addrs {
			c := conn{from: netip.MustParseAddr(f), to: netip.MustParseAddr(to)}
			if n, ok := m.NodeAt(c.from); ok && n == "n0" || c.from == c.to || f == policytest.Gateway {
				continue // never seen by the hooks, but for a pod that talks to itself through a Service
			}
			if n, ok := m.NodeAt(c.to); ok && n == "n0" {
				continue // passes the input hook, which only judges the gateway address
			}
			c.iifPod, c.oifPod = local(c.from), local(c.to)
			for _, c.proto = range policytest.Protocols() {
				for _, c.port = range []uint16{1, 79, 80, 81, 8080, 65535} {
					v := m.Verdict(c.from, c.to, c.proto, c.port)
					want := side(c.from, policy.Egress, v.Egress) && side(c.to, policy.Ingress, v.Ingress)
					hook := "forward"
					if to == policytest.Gateway {
						hook = "input"
					}
					if got := r.judge(t, hook, c); got != map[bool]string{true: "accept", false: "drop"}[want] {
						t.Fatalf("%+v: %q, want allowed %v\n%s\n%s\n%s\n%s", c, got, want, v.Egress.Text, v.Ingress.Text, m, r)
					}
				}
			}
		}
	}
}

func apply(t *testing.T, table *Table, r *ruleset) {
	t.Helper()
	if err := table.Apply(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// dump is the table without what depends on how it came to be: the generation and the order of elements.
func dump(t *Table) string {
	var rest, elements []string
	for _, line := range strings.SplitAfter(t.nft.(*knftables.Fake).Dump(), "\n") {
		switch {
		case strings.Contains(line, " "+chainFresh+" ct mark"), strings.Contains(line, " "+chainApprove+" ct mark"):
		case strings.HasPrefix(line, "add element"):
			elements = append(elements, line)
		default:
			rest = append(rest, line)
		}
	}
	slices.Sort(elements)
	return strings.Join(append(rest, elements...), "")
}
