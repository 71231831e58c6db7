// Package timeline draws what a start of a cluster consisted of: every step on one axis, and what it waited for. A chart is
// made of what kl up knows of a start, with [Of], and written for a terminal or as a picture.
package timeline

import (
	"cmp"
	"slices"
)

// Chart is what happened, in groups. All times are seconds from one moment, such as the start of a command.
type Chart struct {
	Title  string  `json:"title"`
	Groups []Group `json:"groups"`
}

// Group is the part of a chart that one place is in, such as a node.
type Group struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"`
}

// Step is a bar of a chart.
type Step struct {
	ID    string  `json:"id"`   // of all steps of the chart
	Name  string  `json:"name"` // in its group
	Began float64 `json:"began"`
	Ended float64 `json:"ended"`
	// After has the IDs of what it waited for. Those that the chart does not have, or that ended later than the step did, are left
	// out of drawings.
	After []string `json:"after,omitempty"`
}

// row is a step with its place in the drawing.
type row struct {
	Step
	group  string
	unique bool   // no other step has its name
	after  []*row // the last one to end first: it is what the step waited for in the end
	longer bool   // it is on the longest path: a chart that is to be shorter needs it to be shorter
}

// clocks is how many seconds two programs may disagree about the same moment, because one heard of it from the other.
const clocks = 0.005

// rows lists the steps of all groups in order.
func (c Chart) rows() []*row {
	var rows []*row
	byID, named := map[string]*row{}, map[string]int{}
	for _, g := range c.Groups {
		for _, s := range g.Steps {
			s.Ended = max(s.Began, s.Ended)
			r := &row{Step: s, group: g.Name}
			rows = append(rows, r)
			byID[s.ID] = r
			named[s.Name]++
		}
	}
	for _, r := range rows {
		r.unique = named[r.Name] == 1
		for _, id := range r.After {
			if other := byID[id]; other != nil && other != r && other.Ended <= r.Ended+clocks {
				r.after = append(r.after, other)
			}
		}
		slices.SortStableFunc(r.after, func(a, b *row) int { return cmp.Compare(b.Ended, a.Ended) })
	}
	markLongest(rows)
	return rows
}

// markLongest follows the steps from the last one to end, each to the last one that it waited for.
func markLongest(rows []*row) {
	if len(rows) == 0 {
		return
	}
	r := slices.MaxFunc(rows, func(a, b *row) int { return cmp.Compare(a.Ended, b.Ended) })
	for !r.longer {
		r.longer = true
		if len(r.after) > 0 {
			r = r.after[0]
		}
	}
}

// span returns the ends of the axis: from zero, or before it, to the last end.
func span(rows []*row) (first, last float64) {
	for _, r := range rows {
		first, last = min(first, r.Began), max(last, r.Ended)
	}
	return first, last
}
