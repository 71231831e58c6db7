package ui

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

func hpaRow(h *autoscalingv2.HorizontalPodAutoscaler) []kit.Cell {
	level, why := hpaLevel(h)
	low := int32(1)
	if h.Spec.MinReplicas != nil {
		low = *h.Spec.MinReplicas
	}
	return []kit.Cell{dotCell(level), kit.Dim(h.Namespace), kit.Text(h.Name),
		kit.Dim(strings.ToLower(h.Spec.ScaleTargetRef.Kind) + "/" + h.Spec.ScaleTargetRef.Name),
		{Draw: func(st *kit.Styles, w int) string {
			s := st.Text.Render(kit.Clean(hpaTargets(h)))
			if why != "" {
				s += "  " + st.Level(levelOf(level)).Render(kit.Clean(why))
			}
			return kit.Cut(s, w)
		}},
		kit.Text(fmt.Sprintf("%d→%d", h.Status.CurrentReplicas, h.Status.DesiredReplicas)), kit.Dim(fmt.Sprintf("%d–%d", low, h.Spec.MaxReplicas))}
}

func hpaLevel(h *autoscalingv2.HorizontalPodAutoscaler) (observe.Level, string) {
	for _, c := range h.Status.Conditions {
		switch {
		case c.Type != autoscalingv2.ScalingLimited && c.Status == corev1.ConditionFalse:
			return observe.Bad, c.Message
		case c.Type == autoscalingv2.ScalingLimited && c.Status == corev1.ConditionTrue:
			return observe.Warn, c.Message
		}
	}
	if h.Status.CurrentReplicas != h.Status.DesiredReplicas {
		return observe.Busy, ""
	}
	return observe.Good, ""
}

// hpaTargets writes the current and the wanted value of each metric: "cpu 93%/80%".
func hpaTargets(h *autoscalingv2.HorizontalPodAutoscaler) string {
	var out []string
	for i, m := range h.Spec.Metrics {
		if m.Resource == nil {
			out = append(out, strings.ToLower(string(m.Type)))
			continue
		}
		now := "?"
		if i < len(h.Status.CurrentMetrics) && h.Status.CurrentMetrics[i].Resource != nil {
			c := h.Status.CurrentMetrics[i].Resource.Current
			if c.AverageUtilization != nil {
				now = fmt.Sprintf("%d%%", *c.AverageUtilization)
			} else if c.AverageValue != nil {
				now = c.AverageValue.String()
			}
		}
		want := "?"
		if t := m.Resource.Target; t.AverageUtilization != nil {
			want = fmt.Sprintf("%d%%", *t.AverageUtilization)
		} else if t.AverageValue != nil {
			want = t.AverageValue.String()
		}
		out = append(out, fmt.Sprintf("%s %s/%s", m.Resource.Name, now, want))
	}
	return strings.Join(out, ", ")
}

// scalerRoom is the height of the details below the list of autoscalers, and of the chart within them.
func scalerRoom(a kit.Area) (bottom, chart int) {
	bottom = min(22, a.H*3/5)
	if chart = min(11, bottom-5); chart < 5 {
		return min(8, a.H/3), 0
	}
	return bottom, chart
}

// scalers lists the autoscalers, with the history, conditions and events of the selected one.
func (x *metrics) scalers(st *kit.Styles, a kit.Area) string {
	switch {
	case len(x.hpas) == 0 && !x.state.snap.Has("horizontalpodautoscalers"):
		return st.Skeleton("loading autoscalers", x.state.frame, a)
	case len(x.hpas) == 0:
		if what, hint := x.state.refused("horizontalpodautoscalers"); what != "" {
			return st.Empty(what, hint, a)
		}
		return st.Empty("No HorizontalPodAutoscaler here", "kubectl autoscale deployment web --min=1 --max=5 --cpu=80%", a)
	}
	h := x.hpas[min(x.scaling.Cursor, len(x.hpas)-1)]
	bottom, chart := scalerRoom(a)
	out := x.scaling.View(st, true)
	if chart > 0 {
		left := a.W * 3 / 5
		out += "\n" + kit.Beside(x.replicaChart(st, h, kit.Area{W: left, H: chart}), x.conditions(st, h, kit.Area{W: a.W - left, H: chart}))
	}
	rest := kit.Area{W: a.W, H: bottom - chart}
	return out + "\n" + st.Panel("Events of "+h.Name, "", eventLines(st, x.state.snap.EventsOf(h.UID), x.state.now, rest.Inner(), false), rest, false)
}

// replicaChart shows the history of current and desired replicas and of the load.
func (x *metrics) replicaChart(st *kit.Styles, h *autoscalingv2.HorizontalPodAutoscaler, a kit.Area) string {
	samples := x.state.snap.Activity.Scaler(h.Namespace, h.Name)
	of := func(value func(observe.ScalerSample) int32) []float64 {
		return valuesOf(samples, func(s observe.ScalerSample) float64 { return float64(value(s)) })
	}
	note := "replicas"
	if load := last(samples).Load; len(samples) > 0 && load >= 0 {
		note = fmt.Sprintf("at %d%% of its target", load)
	}
	inner := a.Inner()
	legend := st.Accent.Render("━") + st.Dim.Render(" replicas  ") + st.Warn.Render("━") + st.Dim.Render(" wanted  ") + st.Busy.Render(
		kit.Spark(of(func(s observe.ScalerSample) int32 { return s.Load }), 200, max(0, min(30, inner.W-34)))) + st.Dim.Render(" load")
	body := x.chart(wholeNumber, kit.Line{Values: of(func(s observe.ScalerSample) int32 { return s.Desired }), Style: st.Warn},
		kit.Line{Values: of(func(s observe.ScalerSample) int32 { return s.Current }), Style: st.Accent}).View(st, kit.Area{W: inner.W, H: inner.H - 1})
	return st.Panel("Replicas of "+h.Spec.ScaleTargetRef.Name, note, body+"\n"+kit.Cut(legend, inner.W), a, false)
}

// conditions lists what the autoscaler reports about itself.
func (x *metrics) conditions(st *kit.Styles, h *autoscalingv2.HorizontalPodAutoscaler, a kit.Area) string {
	var lines []string
	for _, c := range h.Status.Conditions {
		level := observe.Good
		switch {
		case c.Type != autoscalingv2.ScalingLimited && c.Status == corev1.ConditionFalse:
			level = observe.Bad
		case c.Type == autoscalingv2.ScalingLimited && c.Status == corev1.ConditionTrue:
			level = observe.Warn
		}
		text := kit.Wrap(string(c.Type)+" "+string(c.Status)+": "+kit.Clean(c.Message), a.W-6)
		lines = append(lines, st.Dot(levelOf(level))+" "+st.Text.Render(text[0]))
		for _, l := range text[1:] {
			lines = append(lines, "  "+st.Dim.Render(l))
		}
	}
	if len(lines) == 0 {
		lines = []string{st.Dim.Render("the controller has not reported any condition yet")}
	}
	return st.Panel("Conditions", "", strings.Join(lines, "\n"), a, false)
}
