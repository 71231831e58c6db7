package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ruleset is the wanted content of the table, as nftables text. Chains with a hook are base chains.
type ruleset struct {
	chains   map[string]chain
	sets     map[string]set
	counters map[string]bool
}

type chain struct {
	hook  string // empty for a regular chain
	rules []string
}

// set is a set, or a verdict map if verdicts is true.
type set struct {
	keyType  string
	interval bool // the elements never change, since the name is derived from them
	verdicts bool
	elements map[string]string // key → verdict; empty in a set
}

func newRuleset() *ruleset {
	return &ruleset{chains: map[string]chain{}, sets: map[string]set{}, counters: map[string]bool{}}
}

func (r *ruleset) chain(name string, rules ...string) { r.chains[name] = chain{rules: rules} }

// size counts rules and set elements.
func (r *ruleset) size() (rules, elements int) {
	for _, c := range r.chains {
		rules += len(c.rules)
	}
	for _, s := range r.sets {
		elements += len(s.elements)
	}
	return rules, elements
}

// String returns the ruleset in a fixed order, for golden files and error messages.
func (r *ruleset) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.counters)) {
		fmt.Fprintf(&b, "counter %s\n", name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.sets)) {
		s := r.sets[name]
		fmt.Fprintf(&b, "set %s %s\n", name, s.keyType)
		for _, k := range slices.Sorted(maps.Keys(s.elements)) {
			fmt.Fprintf(&b, "  %s\n", strings.TrimSuffix(k+" : "+s.elements[k], " : "))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.chains)) {
		c := r.chains[name]
		fmt.Fprintf(&b, "chain %s\n", strings.TrimSpace(name+" "+c.hook))
		for _, rule := range c.rules {
			fmt.Fprintf(&b, "  %s\n", rule)
		}
	}
	return b.String()
}
