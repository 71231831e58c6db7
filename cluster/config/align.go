package config

import (
	"slices"

	"github.com/klkube/kl/cluster"
)

// Align returns the groups of a cluster in such an order that each stands where the group of want is that goes on with it, so
// that two lists can be compared index by index. Groups that have lost all their nodes have no part in it, and what cannot
// change on a node tells groups apart: after `kl node remove` and `kl node add` the list has another order than a file that
// asks for the same. A group of want that nothing goes on with has an empty one in its place, and those that want has no
// place for come last.
func Align(have, want []cluster.NodeGroup) []cluster.NodeGroup {
	have = slices.DeleteFunc(slices.Clone(have), func(g cluster.NodeGroup) bool { return g.Count == 0 })
	partner := common(have, want)
	taken := map[int]bool{}
	for _, h := range partner {
		taken[h] = true
	}
	free := func(h int) bool { return h >= 0 && h < len(have) && !taken[h] }
	var out, rest []cluster.NodeGroup
	for w := range want {
		h, ok := partner[w]
		if !ok && free(w) && (len(have) == len(want) || have[w].Simulated == want[w].Simulated) {
			// A group in the same place has been changed into what no group can become. Plan says so: to replace its nodes would
			// destroy what is on them.
			h, ok = w, true
		}
		if !ok {
			out = append(out, empty(want[w]))
			continue
		}
		taken[h] = true
		out = append(out, have[h])
	}
	for h, g := range have {
		if !taken[h] {
			rest = append(rest, g)
		}
	}
	return append(out, rest...)
}

// common maps indexes of want to those of have: the longest sequence of groups that both lists have in the same order.
func common(have, want []cluster.NodeGroup) map[int]int {
	longest := make([][]int, len(have)+1)
	for i := range longest {
		longest[i] = make([]int, len(want)+1)
	}
	for h := len(have) - 1; h >= 0; h-- {
		for w := len(want) - 1; w >= 0; w-- {
			longest[h][w] = max(longest[h+1][w], longest[h][w+1])
			if alike(have[h], want[w]) {
				longest[h][w] = max(longest[h][w], 1+longest[h+1][w+1])
			}
		}
	}
	out := map[int]int{}
	for h, w := 0, 0; h < len(have) && w < len(want); {
		switch {
		case alike(have[h], want[w]) && longest[h][w] == 1+longest[h+1][w+1]:
			out[w] = h
			h, w = h+1, w+1
		case longest[h+1][w] >= longest[h][w+1]:
			h++
		default:
			w++
		}
	}
	return out
}

// alike reports whether nodes of one group can be nodes of the other.
func alike(a, b cluster.NodeGroup) bool { return text(fixed(a)) == text(fixed(b)) }

// fixed is what cannot change on the nodes of a group.
func fixed(g cluster.NodeGroup) cluster.NodeGroup {
	return cluster.NodeGroup{CPUs: g.CPUs, Memory: g.Memory, Mounts: g.Mounts, Ports: notTCP(g.Ports), Simulated: g.Simulated}
}

// empty is a group without nodes that g can grow from.
func empty(g cluster.NodeGroup) cluster.NodeGroup { return fixed(g) }
