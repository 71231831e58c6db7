package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/klkube/kl/cluster/policy"
)

// Names of the sets and chains that every ruleset has.
const (
	chainJudge    = "judge"
	chainFresh    = "fresh"   // accepts connections approved in the current generation; written by Table
	chainApprove  = "approve" // approves a connection in the current generation; written by Table
	chainIngress  = "ingress"
	chainStray    = "stray"
	chainUnknownE = "unknown-egress"
	chainUnknownI = "unknown-ingress"
	chainIPv6     = "ipv6"
	mapEgress     = "egress-pods"
	mapIngress    = "ingress-pods"
	setSelf       = "self"
)

// The ends of a connection in rules: the client, and the server behind a Service's address.
const (
	source = "ct original ip saddr"
	target = "ct reply ip saddr"
	port   = "ct reply proto-src"
)

// program translates the part of a model that concerns the pods of one node.
type program struct {
	cfg   Config
	m     *policy.Model
	r     *ruleset
	ports map[*policy.NamedPort][][]string // the conditions of named ports so far
}

// compile returns the ruleset of a node. With a nil model every pod is unknown.
func compile(m *policy.Model, cfg Config) *ruleset {
	p := &program{cfg: cfg, m: m, r: newRuleset(), ports: map[*policy.NamedPort][][]string{}}
	p.frame(m == nil || m.Isolates(policy.Egress), m == nil || m.Isolates(policy.Ingress))
	if m == nil {
		return p.r
	}
	for _, pod := range m.Pods {
		if pod.Node != cfg.Node || pod.HostNetwork {
			continue
		}
		for _, a := range pod.Addrs {
			if a.Is4() {
				p.pod(pod, a.String())
			}
		}
	}
	return p.r
}

// frame adds the chains and sets that every ruleset has. strict means that the traffic of unknown pods is dropped.
func (p *program) frame(strictEgress, strictIngress bool) {
	veth := strconv.Quote(p.cfg.PodInterface)
	p.r.sets[mapEgress] = set{keyType: "ipv4_addr : verdict", verdicts: true, elements: map[string]string{}}
	p.r.sets[mapIngress] = set{keyType: "ipv4_addr : verdict", verdicts: true, elements: map[string]string{}}
	p.r.sets[setSelf] = set{keyType: "ipv4_addr . ipv4_addr", elements: map[string]string{}}
	p.r.chains["forward"] = chain{hook: "forward", rules: []string{
		"meta nfproto ipv4 goto " + chainJudge, "goto " + chainIPv6,
	}}
	input := chain{hook: "input"}
	if p.cfg.Gateway.Is4() {
		input.rules = append(input.rules, fmt.Sprintf("ip daddr %s goto %s", p.cfg.Gateway, chainJudge))
	}
	input.rules = append(input.rules, "meta nfproto ipv6 goto "+chainIPv6)
	p.r.chains["input"] = input
	p.r.chain(chainIPv6, fmt.Sprintf("iifname %s drop", veth), fmt.Sprintf("oifname %s drop", veth))
	p.r.chain(chainJudge,
		"jump "+chainFresh,
		"ct state related accept", // errors about a connection
		"ct state invalid,untracked goto "+chainStray,
		fmt.Sprintf("%s . %s @%s goto %s", source, target, setSelf, chainApprove),
		fmt.Sprintf("%s vmap @%s", source, mapEgress),
		fmt.Sprintf("iifname %s ct direction original goto %s", veth, chainUnknownE),
		"goto "+chainIngress)
	p.r.chain(chainIngress,
		fmt.Sprintf("%s vmap @%s", target, mapIngress),
		fmt.Sprintf("oifname %s ct direction original goto %s", veth, chainUnknownI),
		"goto "+chainApprove)
	p.r.chain(chainFresh)
	p.r.chain(chainApprove)
	// A packet that belongs to no connection cannot be judged by its client. With policies it is dropped.
	p.r.chain(chainStray, "accept")
	if strictEgress || strictIngress {
		p.r.chain(chainStray, fmt.Sprintf("iifname %s drop", veth), fmt.Sprintf("oifname %s drop", veth), "accept")
	}
	p.r.chain(chainUnknownE, "goto "+chainIngress)
	p.r.chain(chainUnknownI, "goto "+chainApprove)
	if strictEgress {
		p.r.chain(chainUnknownE, p.deny("unknown-egress", logUnknown, policy.Egress, "")...)
	}
	if strictIngress {
		p.r.chain(chainUnknownI, p.deny("unknown-ingress", logUnknown, policy.Ingress, "")...)
	}
}

func (p *program) pod(pod *policy.Pod, addr string) {
	p.r.sets[setSelf].elements[addr+" . "+addr] = ""
	p.r.sets[mapEgress].elements[addr] = "goto " + p.group(pod.Egress, chainIngress)
	p.r.sets[mapIngress].elements[addr] = "goto " + p.group(pod.Ingress, chainApprove)
}

// group returns the chain of a group, and adds it at first. next is the chain for pods without a group.
func (p *program) group(g *policy.Group, next string) string {
	if g == nil {
		return next
	}
	s := short(g.Direction)
	name := "g" + s + "-" + g.ID
	if _, ok := p.r.chains[name]; ok {
		return name
	}
	var rules []string
	for _, np := range g.Policies {
		if len(np.Rules(g.Direction)) > 0 {
			rules = append(rules, "jump "+p.policy(np, g.Direction, next))
		}
	}
	p.r.chain(name, append(rules, p.deny("deny-"+s+"-"+g.ID, logDenied, g.Direction, g.ID)...)...)
	return name
}

// policy returns the chain with a policy's rules for a direction.
func (p *program) policy(np *policy.Policy, d policy.Direction, next string) string {
	s := short(d)
	name, allow, counter := "p"+s+"-"+np.ID, "o"+s+"-"+np.ID, "allow-"+s+"-"+np.ID
	if _, ok := p.r.chains[name]; ok {
		return name
	}
	p.r.counters[counter] = true
	p.r.chain(allow,
		fmt.Sprintf("ct state new counter name %q", counter),
		"ct state new limit rate 50/second burst 100 packets "+p.log(logAllowed, d, idHash(np.ID)),
		"goto "+next)
	var rules []string
	for _, r := range np.Rules(d) {
		for _, peer := range p.peers(r, d) {
			for _, ports := range p.conditions(r) {
				rules = append(rules, strings.Join(append(append(slices.Clone(peer), ports...), "goto "+allow), " "))
			}
		}
	}
	p.r.chain(name, rules...)
	return name
}

// peers returns one condition for each peer of a rule.
func (p *program) peers(r *policy.Rule, d policy.Direction) [][]string {
	if r.AnyPeer {
		return [][]string{nil}
	}
	end := source
	if d == policy.Egress {
		end = target
	}
	var out [][]string
	for _, s := range r.Peers {
		if p.peerSet(s) {
			out = append(out, []string{end, "@" + s.ID})
		}
	}
	return out
}

// peerSet adds a set of addresses. It returns false for a block without IPv4 addresses, which no packet can match.
func (p *program) peerSet(s *policy.PeerSet) bool {
	if have, ok := p.r.sets[s.ID]; ok {
		return !have.interval || len(have.elements) > 0
	}
	out := set{keyType: "ipv4_addr", interval: s.Block, elements: make(map[string]string, len(s.Addrs)+len(s.Ranges))}
	for _, a := range s.Addrs {
		if a.Is4() {
			out.elements[a.String()] = ""
		}
	}
	for _, r := range s.Ranges {
		if r.From.Is4() {
			out.elements[r.String()] = ""
		}
	}
	if s.Block && len(out.elements) == 0 {
		return false
	}
	p.r.sets[s.ID] = out
	return true
}

// conditions returns one condition for each protocol of a rule and for each number that a named port stands for.
func (p *program) conditions(r *policy.Rule) [][]string {
	if r.AnyPort {
		return [][]string{nil}
	}
	var out [][]string
	for i := 0; i < len(r.Ports); {
		n := i + 1
		for n < len(r.Ports) && r.Ports[n].Protocol == r.Ports[i].Protocol {
			n++
		}
		out = append(out, p.protocol(r.Ports[i:n]))
		i = n
	}
	for _, named := range r.Named {
		out = append(out, p.named(named)...)
	}
	return out
}

// protocol returns the condition for port ranges of one protocol.
func (p *program) protocol(ranges []policy.PortRange) []string {
	proto := strings.ToLower(string(ranges[0].Protocol))
	cond := []string{"meta l4proto", proto}
	switch first := ranges[0]; {
	case len(ranges) > 1 || first.From != first.To && !(first.From == 0 && first.To == 65535):
		return append(cond, port, "@"+p.portSet(ranges))
	case first.From == first.To:
		return append(cond, port, strconv.Itoa(int(first.From)))
	}
	return cond
}

func (p *program) portSet(ranges []policy.PortRange) string {
	elements := map[string]string{}
	var text []string
	for _, r := range ranges {
		e := strconv.Itoa(int(r.From))
		if r.From != r.To {
			e += "-" + strconv.Itoa(int(r.To))
		}
		elements[e] = ""
		text = append(text, e)
	}
	name := "ports-" + digest(strings.Join(text, ","))
	p.r.sets[name] = set{keyType: "inet_service", interval: true, elements: elements}
	return name
}

// named returns one condition for each port number that a named port has on some pod, with a set of those pods.
func (p *program) named(n *policy.NamedPort) [][]string {
	if out, ok := p.ports[n]; ok {
		return out
	}
	numbers := map[uint16]map[string]string{}
	for _, t := range n.Targets {
		if !t.Addr.Is4() {
			continue
		}
		if numbers[t.Port] == nil {
			numbers[t.Port] = map[string]string{}
		}
		numbers[t.Port][t.Addr.String()] = ""
	}
	var out [][]string
	for _, number := range sortedKeys(numbers) {
		name := fmt.Sprintf("%s-%d", n.ID, number)
		p.r.sets[name] = set{keyType: "ipv4_addr", elements: numbers[number]}
		out = append(out, []string{target, "@" + name, "meta l4proto", strings.ToLower(string(n.Protocol)), port, strconv.Itoa(int(number))})
	}
	p.ports[n] = out
	return out
}

// deny returns the rules that count, log and drop a packet.
func (p *program) deny(counter string, kind logKind, d policy.Direction, id string) []string {
	p.r.counters[counter] = true
	return []string{
		fmt.Sprintf("counter name %q", counter),
		"ct direction original limit rate 50/second burst 100 packets " + p.log(kind, d, id),
		"drop",
	}
}

func (p *program) log(kind logKind, d policy.Direction, id string) string {
	return fmt.Sprintf("log prefix %q group %d snaplen 64", logPrefix{kind, d, id}, p.cfg.LogGroup)
}

// short returns the direction as it is written in names of chains.
func short(d policy.Direction) string {
	if d == policy.Egress {
		return "e"
	}
	return "i"
}

// idHash returns the part of a policy's ID that identifies it.
func idHash(id string) string {
	h, _, _ := strings.Cut(id, "-")
	return h
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

func sortedKeys[V any](m map[uint16]V) []uint16 {
	keys := make([]uint16, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
