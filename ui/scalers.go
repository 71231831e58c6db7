package ui

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
)

func hpaRow(h *autoscalingv2.HorizontalPodAutoscaler) []cell {
	level, why := hpaLevel(h)
	low := int32(1)
	if h.Spec.MinReplicas != nil {
		low = *h.Spec.MinReplicas
	}
	return []cell{{draw: func(st *styles, _ int) string { return st.dot(level) }}, soft(h.Namespace), txt(h.Name),
		soft(strings.ToLower(h.Spec.ScaleTargetRef.Kind) + "/" + h.Spec.ScaleTargetRef.Name),
		{draw: func(st *styles, w int) string {
			s := st.text.Render(clean(hpaTargets(h)))
			if why != "" {
				s += "  " + st.level(level).Render(clean(why))
			}
			return cut(s, w)
		}},
		txt(fmt.Sprintf("%d→%d", h.Status.CurrentReplicas, h.Status.DesiredReplicas)), soft(fmt.Sprintf("%d–%d", low, h.Spec.MaxReplicas))}
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

// hpaTargets writes what is measured against what is wanted.
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

func (x *metrics) scalers(st *styles, a area) string {
	switch {
	case len(x.hpas) == 0 && !x.w.snap.Has("horizontalpodautoscalers"):
		return st.skeleton("loading autoscalers", x.w.frame, a)
	case len(x.hpas) == 0:
		return st.empty("No HorizontalPodAutoscaler here", "kubectl autoscale deployment web --min=1 --max=5 --cpu=80%", a)
	}
	h := x.hpas[min(x.hpaT.cursor, len(x.hpas)-1)]
	bottom := min(22, a.h*3/5)
	chart := min(11, bottom-5)
	if chart < 5 {
		chart, bottom = 0, min(8, a.h/3)
	}
	out := x.hpaT.view(st, area{a.w, a.h - bottom}, 1, true)
	if chart > 0 {
		left := a.w * 3 / 5
		out += "\n" + beside(x.replicaChart(st, h, area{left, chart}), x.conditions(st, h, area{a.w - left, chart}))
	}
	rest := area{a.w, bottom - chart}
	return out + "\n" + st.panel("Events of "+h.Name, "", eventLines(st, x.w.snap.EventsOf(h.UID), x.w.now, rest.inner(), false), rest, false)
}

// replicaChart shows how many replicas there were and how many were wanted, with what asked for them.
func (x *metrics) replicaChart(st *styles, h *autoscalingv2.HorizontalPodAutoscaler, a area) string {
	samples := x.w.snap.Activity.Scaler(h.Namespace, h.Name)
	of := func(value func(observe.ScalerSample) int32) []float64 {
		return valuesOf(samples, func(s observe.ScalerSample) float64 { return float64(value(s)) })
	}
	note := "replicas"
	if load := last(samples).Load; len(samples) > 0 && load >= 0 {
		note = fmt.Sprintf("at %d%% of its target", load)
	}
	inner := a.inner()
	legend := st.accent.Render("━") + st.dim.Render(" replicas  ") + st.warn.Render("━") + st.dim.Render(" wanted  ") + st.busy.Render(
		spark(of(func(s observe.ScalerSample) int32 { return s.Load }), 200, max(0, min(30, inner.w-34)))) + st.dim.Render(" load")
	body := drawChart(st, x.period(), func(v float64) string { return fmt.Sprintf("%.0f", v) }, area{inner.w, inner.h - 1},
		line{of(func(s observe.ScalerSample) int32 { return s.Desired }), st.warn}, line{of(func(s observe.ScalerSample) int32 { return s.Current }), st.accent})
	return st.panel("Replicas of "+h.Spec.ScaleTargetRef.Name, note, body+"\n"+cut(legend, inner.w), a, false)
}

// conditions are what the autoscaler says about itself, in its words.
func (x *metrics) conditions(st *styles, h *autoscalingv2.HorizontalPodAutoscaler, a area) string {
	var lines []string
	for _, c := range h.Status.Conditions {
		level := observe.Good
		switch {
		case c.Type != autoscalingv2.ScalingLimited && c.Status == corev1.ConditionFalse:
			level = observe.Bad
		case c.Type == autoscalingv2.ScalingLimited && c.Status == corev1.ConditionTrue:
			level = observe.Warn
		}
		text := wrap(string(c.Type)+" "+string(c.Status)+": "+clean(c.Message), a.w-6)
		lines = append(lines, st.dot(level)+" "+st.text.Render(text[0]))
		for _, l := range text[1:] {
			lines = append(lines, "  "+st.dim.Render(l))
		}
	}
	if len(lines) == 0 {
		lines = []string{st.dim.Render("the controller has not looked at it yet")}
	}
	return st.panel("Conditions", "", strings.Join(lines, "\n"), a, false)
}
