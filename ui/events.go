package ui

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
)

// eventLines writes events, newest first, one a line.
func eventLines(st *styles, list []*corev1.Event, now time.Time, a area, name bool) string {
	if len(list) == 0 {
		return st.dim.Render("no events in the last hour")
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(x, y *corev1.Event) int { return observe.EventTime(y).Compare(observe.EventTime(x)) })
	var lines []string
	for _, e := range list[:min(len(list), max(0, a.h))] {
		lines = append(lines, eventLine(st, e, now, a.w, name))
	}
	return strings.Join(lines, "\n")
}

func eventLine(st *styles, e *corev1.Event, now time.Time, w int, name bool) string {
	level := observe.Idle
	if e.Type == corev1.EventTypeWarning {
		level = observe.Warn
	}
	l := fitRight(observe.Span(now.Sub(observe.EventTime(e))), 4)
	s := st.dim.Render(l) + " " + st.dot(level) + " " + st.level(max(level, observe.Idle)).Render(clean(e.Reason)) + " "
	if name {
		s += st.text.Render(clean(e.InvolvedObject.Name)) + " "
	}
	s += st.dim.Render(clean(e.Message))
	if n := times(e); n != "" {
		s = cut(s, w-len(n)-1) + " " + st.faint.Render(n)
	}
	return cut(s, w)
}

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
