package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/latest"
	"github.com/klkube/kl/cluster/policy"
)

// journal keeps the last denials and counts connections by pair. It is safe for concurrent use.
type journal struct {
	node string
	size int // denials kept
	now  func() time.Time
	// sender returns the address of the pod behind an interface; the zero value if there is none.
	sender func(link uint32) netip.Addr

	seq latest.Value[uint64] // of the last denial

	mu      sync.Mutex
	names   names
	denials []policy.Denial // oldest first
	recent  map[flow]uint64 // Seq of denials kept, to recognize retries
	pairs   map[pair]*count
	old     map[pair]*count // pairs from before pairs was full
	lost    uint64          // log messages that the kernel dropped
}

// names resolves addresses, policies and groups in the enforced model.
type names struct {
	model    *policy.Model
	policies map[string]string // idHash → namespace/name
}

// flow is a connection.
type flow struct {
	direction policy.Direction
	packet    packet
}

type pair struct {
	direction policy.Direction
	from, to  string
	protocol  corev1.Protocol
	port      uint16
	policies  string // separated by spaces
}

type count struct {
	allowed, denied uint64
	last            time.Time
}

// pairsKept bounds the memory for pairs: between one and two times as many are kept.
const pairsKept = 4096

func newJournal(node string, size int, now func() time.Time, sender func(link uint32) netip.Addr) *journal {
	return &journal{
		node: node, size: size, now: now, sender: sender, recent: map[flow]uint64{},
		pairs: map[pair]*count{}, old: map[pair]*count{}, names: names{model: policy.Compile(policy.Objects{}, policy.Options{})},
	}
}

// setModel sets the model whose names are used for packets from now on.
func (j *journal) setModel(m *policy.Model) {
	n := names{model: m, policies: make(map[string]string, len(m.Policies))}
	for _, p := range m.Policies {
		n.policies[idHash(p.ID)] = p.Key()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.names = n
}

// add records a logged packet.
func (j *journal) add(p packet) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now()
	claimed := p.from
	if p.prefix.kind == logSpoofed {
		p.from = j.sender(p.link)
		p.fromPort = 0 // as invented as the address: one entry for all
	}
	x := pair{
		direction: p.prefix.direction, protocol: p.protocol, port: p.port,
		from: j.names.model.Describe(p.from), to: j.names.model.Describe(p.to),
	}
	if p.prefix.kind == logAllowed {
		x.policies = j.names.policies[p.prefix.id]
		c := j.count(x)
		c.allowed++
		c.last = now
		return
	}
	if p.prefix.kind == logSpoofed && !p.from.IsValid() {
		x.from = "a pod that is gone"
	}
	policies, reason := j.explain(p, x, claimed)
	x.policies = strings.Join(policies, " ")
	if j.retry(p) {
		return
	}
	c := j.count(x)
	c.denied++
	c.last = now
	seq := j.seq.Load() + 1
	j.denials = append(j.denials, policy.Denial{
		Seq: seq, Time: now, Node: j.node, Direction: x.direction, From: x.from, To: x.to, FromAddr: p.from, ToAddr: p.to,
		Protocol: p.protocol, Port: p.port, Policies: policies, Reason: reason, Packets: 1,
	})
	j.recent[flow{x.direction, p}] = seq
	if len(j.denials) > j.size {
		j.trim()
	}
	j.seq.Set(seq)
}

// retry adds a packet to the denial of its connection and reports whether there is one.
func (j *journal) retry(p packet) bool {
	seq, ok := j.recent[flow{p.prefix.direction, p}]
	if !ok {
		return false
	}
	i, ok := slices.BinarySearchFunc(j.denials, seq, func(d policy.Denial, seq uint64) int { return int(d.Seq) - int(seq) })
	if !ok {
		return false
	}
	j.denials[i].Packets++
	return true
}

// trim drops the older half at once, so that it does not have to run for each packet.
func (j *journal) trim() {
	j.denials = slices.Clone(j.denials[len(j.denials)-j.size/2-1:])
	first := j.denials[0].Seq
	for f, seq := range j.recent {
		if seq < first {
			delete(j.recent, f)
		}
	}
}

// explain returns the policies behind a denial and its reason. claimed is the source address in the packet.
func (j *journal) explain(p packet, x pair, claimed netip.Addr) (policies []string, reason string) {
	switch p.prefix.kind {
	case logUnknown:
		return nil, "the pod's address was not programmed yet"
	case logSpoofed:
		if name := j.names.model.Describe(claimed); name != claimed.String() {
			return nil, fmt.Sprintf("spoofed, sent with the address %s of %s", claimed, name)
		}
		return nil, fmt.Sprintf("spoofed, sent with the address %s", claimed)
	}
	g := j.names.model.Groups[p.prefix.id]
	if g == nil {
		return nil, "a policy that has been deleted since"
	}
	v := j.names.model.Verdict(p.from, p.to, p.protocol, p.port)
	if d, decision, denied := v.Denied(); denied && d == x.direction {
		return g.Names(), decision.Text
	}
	return g.Names(), "isolated by " + strings.Join(g.Names(), ", ")
}

// count returns the counters of a pair.
func (j *journal) count(x pair) *count {
	if c := j.pairs[x]; c != nil {
		return c
	}
	c := j.old[x]
	if c == nil {
		c = &count{}
	}
	if len(j.pairs) >= pairsKept {
		j.old, j.pairs = j.pairs, map[pair]*count{}
	}
	j.pairs[x] = c
	return c
}

func (j *journal) addLost() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lost++
}

// after returns the denials with a higher Seq, and a channel that is closed when there are more.
func (j *journal) after(seq uint64) ([]policy.Denial, <-chan struct{}) {
	_, changed := j.seq.Get() // before the denials are read, so that no change is missed
	j.mu.Lock()
	defer j.mu.Unlock()
	i, _ := slices.BinarySearchFunc(j.denials, seq+1, func(d policy.Denial, seq uint64) int { return int(d.Seq) - int(seq) })
	return slices.Clone(j.denials[i:]), changed
}

// pairCounters returns all pairs, the last seen first.
func (j *journal) pairCounters() (out []policy.PairCounter, lost uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	seen := map[pair]bool{}
	for _, m := range []map[pair]*count{j.pairs, j.old} {
		for x, c := range m {
			if seen[x] {
				continue
			}
			seen[x] = true
			out = append(out, policy.PairCounter{
				Direction: x.direction, From: x.from, To: x.to, Protocol: x.protocol, Port: x.port,
				Policies: strings.Fields(x.policies), Allowed: c.allowed, Denied: c.denied, Last: c.last,
			})
		}
	}
	slices.SortFunc(out, func(a, b policy.PairCounter) int { return b.Last.Compare(a.Last) })
	return out, j.lost
}
