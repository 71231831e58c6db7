package ui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// screen is one view of the cluster. The model calls setState whenever the state has changed, update with keys and
// messages while the screen is on top, and view, which must not change the screen, for every frame.
//
// A screen may also be a resizer, a starter, a closer, a listener or a pender.
type screen interface {
	title() string
	keys() []kit.Binding
	setState(v viewState)
	update(msg tea.Msg) tea.Cmd
	view(st *kit.Styles, a kit.Area) string
}

// resizer is a screen that keeps something that depends on its area, such as a scroll position. The model calls resize
// after every update, with the area that view is then called with.
type resizer interface{ resize(a kit.Area) }

// starter is a screen that fetches something as soon as it is opened.
type starter interface{ start() tea.Cmd }

// closer is a screen that holds something open. The model calls close once, when it removes the screen.
type closer interface{ close() }

// listener is a screen that wants some messages even while another screen is on top.
type listener interface{ wants(msg tea.Msg) bool }

// pender is a screen that may take several frames to compute what it shows.
type pender interface{ pending() bool }

// shell is what a screen may ask of the interface around it.
type shell interface {
	keys() *keyMap
	session() *session        // nil until a cluster has been opened
	now() time.Time           // the current time of Options.Clock
	push(s screen) tea.Cmd    // opens a screen on top
	ask(d kit.Dialog) tea.Cmd // opens a dialog at once, so that the next key goes to it
}

var _ shell = (*Model)(nil)

// viewState is what screens show: the newest snapshot, the time, and the part of the cluster that the user has chosen.
type viewState struct {
	snap      *observe.Snapshot
	now       time.Time
	namespace string // empty means all
	filter    string
	frame     int // of the spinner
}

// refused says which of the kinds the user may not list; empty if all may be.
func (v *viewState) refused(kinds ...string) (what, hint string) {
	var list []string
	for _, k := range kinds {
		if slices.Contains(v.snap.Forbidden, k) {
			list = append(list, k)
		}
	}
	switch {
	case len(list) == 0:
		return "", ""
	case v.snap.Only == "":
		return "You may not list " + strings.Join(list, ", "), "ask for the verbs list and watch"
	}
	return fmt.Sprintf("You may not list %s in namespace %s", strings.Join(list, ", "), kit.Clean(v.snap.Only)), "n chooses another namespace  ·  ask for the verbs list and watch"
}

// in reports whether a namespace is shown.
func (v *viewState) in(namespace string) bool { return v.namespace == "" || v.namespace == namespace }

// matches reports whether the fields pass the filter: every word of it occurs in one of them, and no word with a ! in
// front does.
func (v *viewState) matches(fields ...string) bool {
	if v.filter == "" {
		return true
	}
	text := strings.ToLower(strings.Join(fields, "/")) // as most are shown: namespace/name
	for word := range strings.FieldsSeq(strings.ToLower(v.filter)) {
		bare, not := strings.CutPrefix(word, "!")
		if bare != "" && strings.Contains(text, bare) == not {
			return false
		}
	}
	return true
}
