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

// forward is a local port that leads to a port of a pod until it is canceled or the session ends.
type forward struct {
	namespace, pod string
	port           int
	local          atomic.Int64 // 0 until one has been chosen
	cancel         context.CancelFunc
}

// startForward forwards a local port, or any free one if local is 0, and keeps the forward in the list of the session
// until it ends.
func startForward(sh shell, namespace, pod string, local, port int) tea.Cmd {
	s := sh.session()
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
	announce := s.run(func(ctx context.Context) tea.Msg {
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
	return tea.Batch(run, announce)
}

// forwards lists the port-forwards of the session.
type forwards struct {
	sh    shell
	list  []forwardRow
	table kit.Table
}

// forwardRow is a port-forward as it was when the state was set.
type forwardRow struct {
	*forward
	local int
}

func newForwards(sh shell) *forwards {
	f := &forwards{sh: sh}
	f.table.SetCols([]kit.Column{{Title: "local", Min: 20}, {Title: "pod", Min: 12, Grow: true}, {Title: "port", Right: true}, {Title: "namespace", Drop: 1}})
	return f
}

func (f *forwards) title() string       { return "Port-forwards" }
func (f *forwards) keys() []kit.Binding { return []kit.Binding{f.sh.keys().endForward} }

func (f *forwards) setState(viewState) {
	s := f.sh.session()
	if s == nil {
		return
	}
	var list []forwardRow
	s.mu.Lock()
	for _, x := range s.forwards {
		list = append(list, forwardRow{x, int(x.local.Load())})
	}
	s.mu.Unlock()
	f.list = list
	f.table.SetRows(len(list), func(i int) string { return strconv.Itoa(list[i].local) }, func(i int) []kit.Cell {
		x := list[i]
		return []kit.Cell{kit.Text(fmt.Sprintf("127.0.0.1:%d", x.local)), kit.Text(x.pod), kit.Text(strconv.Itoa(x.port)), kit.Dim(x.namespace)}
	})
}

func (f *forwards) resize(a kit.Area) { f.table.Resize(a, 0) }

func (f *forwards) update(msg tea.Msg) tea.Cmd {
	k := f.sh.keys()
	if f.table.Handle(msg, k.MoveKeys) {
		return nil
	}
	if key, ok := msg.(tea.KeyMsg); ok && k.endForward.Match(key) && f.table.Cursor < len(f.list) {
		f.list[f.table.Cursor].cancel()
	}
	return nil
}

func (f *forwards) view(st *kit.Styles, a kit.Area) string {
	if len(f.list) == 0 {
		return st.Empty("No port is forwarded", "f on a pod forwards a local port to it", a)
	}
	return f.table.View(st, true)
}
