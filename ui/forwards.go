package ui

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// forward is a local port that leads to a pod for as long as the session lives or until it is ended.
type forward struct {
	namespace, pod string
	port           int
	local          atomic.Int64
	cancel         context.CancelFunc
}

// startForward adds a forward to the session's list and keeps it until it ends.
func (m *Model) startForward(namespace, pod string, local, port int) tea.Cmd {
	s := m.session
	f := &forward{namespace: namespace, pod: pod, port: port}
	f.local.Store(int64(local))
	ready := make(chan int, 1)
	run := s.run(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		f.cancel = cancel
		s.mu.Lock()
		s.forwards = append(s.forwards, f)
		s.mu.Unlock()
		err := s.act.Forward(ctx, namespace, pod, local, port, func(local int) {
			f.local.Store(int64(local))
			ready <- local
		})
		s.mu.Lock()
		s.forwards = slices.DeleteFunc(s.forwards, func(x *forward) bool { return x == f })
		s.mu.Unlock()
		close(ready)
		if ctx.Err() != nil {
			return toastMsg{fmt.Sprintf("forward to %s:%d ended", pod, port), observe.Idle}
		}
		return toastMsg{refusal(err), observe.Bad}
	})
	said := s.run(func(ctx context.Context) tea.Msg {
		select {
		case <-ctx.Done():
			return nil
		case local, ok := <-ready:
			if !ok {
				return nil
			}
			return toastMsg{fmt.Sprintf("http://127.0.0.1:%d → %s:%d (F lists forwards)", local, pod, port), observe.Good}
		}
	})
	return tea.Batch(run, said)
}

// forwards lists the session's port-forwards.
type forwards struct {
	m     *Model
	list  []*forward
	table kit.Table
}

func newForwards(m *Model) *forwards {
	f := &forwards{m: m}
	f.table.SetCols([]kit.Column{{Title: "local", Min: 20}, {Title: "pod", Min: 12, Grow: true}, {Title: "port", Right: true}, {Title: "namespace", Drop: 1}})
	return f
}

func (f *forwards) title() string       { return "Port-forwards" }
func (f *forwards) keys() []kit.Binding { return []kit.Binding{kit.Bind("D", "end it", "D")} }

func (f *forwards) set(*world) {
	if f.m.session == nil {
		return
	}
	f.m.session.mu.Lock()
	f.list = slices.Clone(f.m.session.forwards)
	f.m.session.mu.Unlock()
	list := f.list
	f.table.SetRows(len(list), func(i int) string { return strconv.Itoa(int(list[i].local.Load())) }, func(i int) []kit.Cell {
		return []kit.Cell{kit.Text(fmt.Sprintf("127.0.0.1:%d", list[i].local.Load())), kit.Text(list[i].pod), kit.Text(strconv.Itoa(list[i].port)), kit.Dim(list[i].namespace)}
	})
}

func (f *forwards) update(msg tea.Msg) tea.Cmd {
	if f.table.Handle(msg, f.m.k.MoveKeys) {
		return nil
	}
	if key, ok := msg.(tea.KeyMsg); ok && key.String() == "D" && f.table.Cursor < len(f.list) {
		f.list[f.table.Cursor].cancel()
	}
	return nil
}

func (f *forwards) view(st *kit.Styles, a kit.Area) string {
	if len(f.list) == 0 {
		return st.Empty("No port is forwarded", "f on a pod forwards a local port to it", a)
	}
	return f.table.View(st, a, 0, true)
}
