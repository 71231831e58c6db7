package ui

import (
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// levelOf returns how to draw a level of an object in the cluster.
func levelOf(l observe.Level) kit.Level {
	switch l {
	case observe.Good:
		return kit.Good
	case observe.Busy:
		return kit.Busy
	case observe.Warn:
		return kit.Warn
	case observe.Bad:
		return kit.Bad
	}
	return kit.Idle
}

// dotCell is a table cell that shows a level as a coloured mark.
func dotCell(l observe.Level) kit.Cell {
	return kit.Cell{Draw: func(st *kit.Styles, _ int) string { return st.Dot(levelOf(l)) }}
}
