package policy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster/policy"
	"sigs.k8s.io/knftables"
)

// TableName is the name of the inet table that the agent owns.
const TableName = "kl-policy"

// Remove deletes the table if there is one. Policies are no longer enforced then, and ARP packets no longer checked.
func Remove(ctx context.Context) error {
	forgetARP(ctx)
	nft, err := knftables.New(knftables.InetFamily, TableName)
	if err != nil {
		return fmt.Errorf("find nft: %w", err)
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{}) // deleting what does not exist would fail
	tx.Delete(&knftables.Table{})
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("delete table %s: %w", TableName, err)
	}
	return nil
}

// Table programs rulesets into the nftables table. It is not safe for concurrent use.
type Table struct {
	nft     knftables.Interface
	current *ruleset          // what is in the kernel; nil if that is unknown
	base    map[string]uint64 // packets of counters that have been deleted, by name
	gen     uint32            // 24 bits
	stats   policy.TableStats
}

// NewTable returns a Table whose first Apply replaces whatever is in the kernel.
func NewTable(nft knftables.Interface) *Table {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return &Table{nft: nft, gen: binary.NativeEndian.Uint32(b[:]) & 0xffffff, base: map[string]uint64{}}
}

// Exists reports whether the table is in the kernel. If that cannot be found out, it is taken to be missing.
func (t *Table) Exists(ctx context.Context) bool {
	chains, err := t.nft.List(ctx, "chains")
	return err == nil && slices.Contains(chains, chainJudge)
}

// Apply makes the kernel's table equal to want in one transaction, so that the rules are never in force in part. It does
// nothing if want is there already. After an error the old rules stay in force, and the next Apply replaces the whole table,
// again in one transaction.
func (t *Table) Apply(ctx context.Context, want *ruleset) error {
	start := time.Now()
	tx := t.nft.NewTransaction()
	if t.current == nil {
		if t.Exists(ctx) {
			t.keepCounters(ctx, nil)
		}
		tx.Add(&knftables.Table{})
		tx.Delete(&knftables.Table{})
		t.current = newRuleset()
	}
	if !t.fill(tx, want) {
		return nil
	}
	if err := t.nft.Run(ctx, tx); err != nil {
		t.current = nil
		return fmt.Errorf("program table %s: %w", TableName, err)
	}
	old := t.current
	t.current = want
	t.stats.Rules, t.stats.Elements = want.size()
	t.stats.Chains, t.stats.Sets = len(want.chains), len(want.sets)
	t.stats.Applies++
	t.stats.LastApply = time.Since(start).Seconds()
	return t.collect(ctx, old)
}

// fill adds the changes from current to want to tx. It returns false if there are none.
func (t *Table) fill(tx *knftables.Transaction, want *ruleset) bool {
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("NetworkPolicies of kl")})
	header := tx.NumOperations()
	t.declare(tx, want)
	for _, name := range slices.Sorted(maps.Keys(want.sets)) {
		fillSet(tx, name, t.current.sets[name], want.sets[name])
	}
	for _, name := range slices.Sorted(maps.Keys(want.chains)) {
		have, ok := t.current.chains[name]
		if ok && slices.Equal(have.rules, want.chains[name].rules) {
			continue
		}
		rewrite(tx, name, want.chains[name].rules)
	}
	for _, name := range slices.Sorted(maps.Keys(t.current.chains)) {
		if _, ok := want.chains[name]; !ok {
			tx.Flush(&knftables.Chain{Name: name})
		}
	}
	if tx.NumOperations() == header {
		return false
	}
	t.gen = t.gen%0xffffff + 1
	rewrite(tx, chainFresh, []string{fmt.Sprintf("ct mark & 0xffffff00 == %#08x accept", t.gen<<8)})
	rewrite(tx, chainApprove, []string{fmt.Sprintf("ct mark set ct mark & 0x000000ff | %#08x", t.gen<<8), "accept"})
	return true
}

// declare adds new counters, sets and chains without content, so that what follows may refer to them in any order.
func (t *Table) declare(tx *knftables.Transaction, want *ruleset) {
	for _, name := range slices.Sorted(maps.Keys(want.counters)) {
		if !t.current.counters[name] {
			tx.Add(&knftables.Counter{Name: name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.sets)) {
		if _, ok := t.current.sets[name]; !ok {
			tx.Add(want.sets[name].object(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.chains)) {
		if _, ok := t.current.chains[name]; ok {
			continue
		}
		c := &knftables.Chain{Name: name}
		if hook := want.chains[name].hook; hook != "" {
			c.Type = knftables.PtrTo(knftables.FilterType)
			c.Hook = knftables.PtrTo(knftables.BaseChainHook(hook))
			c.Priority = knftables.PtrTo(knftables.FilterPriority + "-10")
		}
		tx.Add(c)
	}
}

func rewrite(tx *knftables.Transaction, chain string, rules []string) {
	tx.Flush(&knftables.Chain{Name: chain})
	for _, r := range rules {
		tx.Add(&knftables.Rule{Chain: chain, Rule: r})
	}
}

// fillSet deletes and adds elements. It deletes first, because a verdict cannot be changed in place.
func fillSet(tx *knftables.Transaction, name string, have, want set) {
	for _, k := range missing(have.elements, want.elements) {
		tx.Delete(have.element(name, k))
	}
	for _, k := range missing(want.elements, have.elements) {
		tx.Add(want.element(name, k))
	}
}

// missing returns the keys of a that are not in b or have another value there, sorted.
func missing(a, b map[string]string) []string {
	var keys []string
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

func (s set) object(name string) knftables.Object {
	if s.verdicts {
		return &knftables.Map{Name: name, Type: s.keyType}
	}
	o := &knftables.Set{Name: name, Type: s.keyType}
	if s.interval {
		o.Flags = []knftables.SetFlag{knftables.IntervalFlag}
	}
	return o
}

func (s set) element(name, key string) *knftables.Element {
	e := &knftables.Element{Key: strings.Split(key, " . ")}
	if !s.verdicts {
		e.Set = name
		return e
	}
	e.Map, e.Value = name, []string{s.elements[key]}
	return e
}

// collect deletes what is no longer referred to. It is a transaction of its own: kernels before 6.2 refuse to delete a chain
// in the transaction that removes the map element leading to it.
func (t *Table) collect(ctx context.Context, old *ruleset) error {
	tx := t.nft.NewTransaction()
	for _, name := range slices.Sorted(maps.Keys(old.chains)) {
		if _, ok := t.current.chains[name]; !ok {
			tx.Delete(&knftables.Chain{Name: name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old.sets)) {
		if _, ok := t.current.sets[name]; !ok {
			tx.Delete(old.sets[name].object(name))
		}
	}
	var counters []string
	for _, name := range slices.Sorted(maps.Keys(old.counters)) {
		if !t.current.counters[name] {
			counters = append(counters, name)
			tx.Delete(&knftables.Counter{Name: name})
		}
	}
	if tx.NumOperations() == 0 {
		return nil
	}
	if len(counters) > 0 {
		t.keepCounters(ctx, counters)
	}
	if err := t.nft.Run(ctx, tx); err != nil {
		t.current = nil
		return fmt.Errorf("delete unused chains and sets of table %s: %w", TableName, err)
	}
	return nil
}

// keepCounters adds counters that are about to be deleted to base, so that Counters still reports them; all if names is nil.
func (t *Table) keepCounters(ctx context.Context, names []string) {
	counters, err := t.nft.ListCounters(ctx)
	if err != nil {
		return // then these counts are lost, which is better than not to program the rules
	}
	for _, c := range counters {
		if c != nil && c.Packets != nil && (names == nil || slices.Contains(names, c.Name)) {
			t.base[c.Name] += *c.Packets
		}
	}
}

// Counters returns the packets counted by name, including those of deleted counters.
func (t *Table) Counters(ctx context.Context) (map[string]uint64, error) {
	out := maps.Clone(t.base)
	counters, err := t.nft.ListCounters(ctx)
	if err != nil {
		return nil, fmt.Errorf("list counters: %w", err)
	}
	for _, c := range counters {
		if c != nil && c.Packets != nil { // knftables.Fake returns nils
			out[c.Name] += *c.Packets
		}
	}
	return out, nil
}
