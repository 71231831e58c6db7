package ui

import (
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/google/go-cmp/cmp"
	"github.com/muesli/termenv"

	"github.com/klkube/kl/ui/kit"
)

// recorder is a screen that records how it is used.
type recorder struct{ calls []string }

func (r *recorder) record(call string) { r.calls = append(r.calls, call) }

func (r *recorder) title() string                         { return "recorder" }
func (r *recorder) keys() []kit.Binding                   { return nil }
func (r *recorder) setState(viewState)                    { r.record("setState") }
func (r *recorder) start() tea.Cmd                        { r.record("start"); return nil }
func (r *recorder) resize(a kit.Area)                     { r.record("resize " + a.String()) }
func (r *recorder) update(tea.Msg) tea.Cmd                { r.record("update"); return nil }
func (r *recorder) view(_ *kit.Styles, a kit.Area) string { r.record("view " + a.String()); return "" }
func (r *recorder) close()                                { r.record("close") }

// A screen is opened in one way, whoever opens it, and closed once, whatever takes it away.
func TestScreenLifecycle(t *testing.T) {
	opened := []string{"setState", "start", "resize 80x21", "view 80x21"}
	for _, tt := range []struct {
		name    string
		session *session
		end     func(m *Model)
		want    []string
	}{
		{"esc", &session{}, func(m *Model) { m.Update(kit.KeyPress("esc")) }, append(opened, "close")},
		{"another main screen", &session{}, func(m *Model) { m.Update(kit.KeyPress("2")) }, append(opened, "close")},
		{"quit", &session{}, func(m *Model) { m.Update(kit.KeyPress("q")) }, append(opened, "close", "resize 80x21")},
		{"another cluster", &session{}, func(m *Model) { m.reset() }, append(opened, "close")},
		{"without a session", nil, func(m *Model) { m.pop() }, []string{"setState", "resize 80x21", "view 80x21", "close"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := testModel(t, "", states()["normal"](), kit.Area{W: 80, H: 24}, testStyles(termenv.Ascii, true))
			m.conn = tt.session
			r := &recorder{}
			m.Update(pushMsg{r})
			m.View()
			tt.end(m)
			if diff := cmp.Diff(tt.want, r.calls); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A dialog gets the very next key, and the screen below it none until the dialog is closed.
func TestDialogTakesKeys(t *testing.T) {
	m := testModel(t, "", states()["normal"](), kit.Area{W: 80, H: 24}, testStyles(termenv.Ascii, true))
	r := &recorder{}
	m.push(r)
	r.calls = nil
	m.ask(&kit.Confirm{Title: "Delete"})
	m.Update(kit.KeyPress("x"))
	m.Update(kit.KeyPress("n"))
	m.Update(kit.KeyPress("x"))
	want := []string{"resize 80x21", "resize 80x21", "update", "resize 80x21"}
	if diff := cmp.Diff(want, r.calls); diff != "" {
		t.Error(diff)
	}
}
