package ui

import (
	"context"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/muesli/termenv"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/cluster/observe/observetest"
	"github.com/klkube/kl/ui/kit"
)

// BenchmarkLargeCluster measures the interface on 1,000 nodes and 5,000 pods served over HTTP by a server in the same
// process: time to the first full frame, from a key to the frame that answers it, and live memory, which includes the
// server's own copy of the objects.
func BenchmarkLargeCluster(b *testing.B) {
	objects := observetest.Synthetic(1000, 5000, time.Now())
	srv := observetest.Start(b, objects...)
	srv.Usage(observetest.SyntheticUsage(objects))
	before := liveMB()
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		o := Options{Target: observe.Target{Name: "large"}, Out: io.Discard, Screen: "workloads"}
		m := newModel(o, testStyles(termenv.TrueColor, true))
		m.connectWith(ctx)
		m.size = kit.Area{W: 200, H: 60}
		start := time.Now()
		src, err := observe.New(observe.Config{REST: srv.Config(), Name: "large"})
		if err != nil {
			b.Fatal(err)
		}
		act, err := observe.NewActions(srv.Config())
		if err != nil {
			b.Fatal(err)
		}
		s := newSession(ctx, o.Target, src, act)
		d := newDriver(ctx, m)
		d.send(connectedMsg{s, o.Target, nil})
		d.until(30*time.Second, func() bool { return len(m.state.snap.Pods) == 5000 })
		if frame := m.View(); len(frame) == 0 || len(m.state.snap.Pods) != 5000 {
			b.Fatalf("%d pods after 30 s", len(m.state.snap.Pods))
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/first-frame")
		d.until(30*time.Second, m.state.snap.Synced)
		d.until(30*time.Second, func() bool { return m.state.snap.Usage != nil && len(m.state.snap.Usage.Pods) == 5000 })
		worst := pressAll(m)
		b.ReportMetric(float64(worst.Microseconds())/1000, "ms/key-worst")
		b.ReportMetric(liveMB()-before, "MB/live")
		cancel()
		s.close()
	}
}

// pressAll presses common keys on every screen and returns the longest time from a key to its frame.
func pressAll(m *Model) time.Duration {
	var worst []time.Duration
	for i := range screenNames() {
		for _, k := range []string{string(rune('1' + i)), "down", "down", "G", "g", "o", "m", "/", "a", "p", "p", "esc", "?", "esc"} {
			start := time.Now()
			m.Update(kit.KeyPress(k))
			_ = m.View()
			worst = append(worst, time.Since(start))
			if m.dialog != nil {
				m.dialog = nil
			}
		}
	}
	return slices.Max(worst)
}

func liveMB() float64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc) / (1 << 20)
}
