package ui

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// eventLines writes events, newest first, one per line. name says whether to name the objects they are about.
func eventLines(st *kit.Styles, list []*corev1.Event, now time.Time, a kit.Area, name bool) string {
	if len(list) == 0 {
		return st.Dim.Render("no events in the last hour")
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(x, y *corev1.Event) int { return observe.EventTime(y).Compare(observe.EventTime(x)) })
	var lines []string
	for _, e := range list[:min(len(list), max(0, a.H))] {
		lines = append(lines, eventLine(st, e, now, a.W, name))
	}
	return strings.Join(lines, "\n")
}

// eventLine writes an event in one line of w cells.
func eventLine(st *kit.Styles, e *corev1.Event, now time.Time, w int, name bool) string {
	level := observe.Idle
	if e.Type == corev1.EventTypeWarning {
		level = observe.Warn
	}
	l := kit.FitRight(observe.Span(now.Sub(observe.EventTime(e))), 4)
	s := st.Dim.Render(l) + " " + st.Dot(levelOf(level)) + " " + st.Level(levelOf(level)).Render(kit.Clean(e.Reason)) + " "
	if name {
		s += st.Text.Render(kit.Clean(e.InvolvedObject.Name)) + " "
	}
	s += st.Dim.Render(kit.Clean(e.Message))
	if n := times(e); n != "" {
		s = kit.Cut(s, w-len(n)-1) + " " + st.Faint.Render(n)
	}
	return kit.Cut(s, w)
}

// times says how often an event was seen, or "" for once.
func times(e *corev1.Event) string {
	n := int(e.Count)
	if e.Series != nil {
		n = int(e.Series.Count)
	}
	if n > 1 {
		return "×" + strconv.Itoa(n)
	}
	return ""
}
