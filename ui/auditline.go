package ui

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// AuditLines returns a function that formats an entry of an audit log as a line of text, with times in that zone. Colours are
// the terminal's own sixteen, which suit its background without asking for it.
func AuditLines(colour bool, where *time.Location) func(observe.AuditEntry) string {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(termenv.Ascii)
	if colour {
		r.SetColorProfile(termenv.ANSI)
	}
	r.SetHasDarkBackground(false)
	st := kit.NewStyles(r)
	return func(e observe.AuditEntry) string {
		verb := st.Dim
		if e.Change() {
			verb = st.Title
		}
		object := e.Object
		if object == e.Namespace && object != "" && e.Resource != "namespaces" {
			object += "/" // all of the namespace, and not an object of that name
		}
		parts := []string{
			st.Dim.Render(e.Time.In(where).Format("2006-01-02 15:04:05.000")), st.Accent.Render(kit.Clean(e.User)), verb.Render(kit.Clean(e.Verb)),
			strings.TrimSpace(kit.Clean(e.Resource) + " " + kit.Clean(object)), auditStyle(st, e).Render(strconv.Itoa(e.Code)),
			st.Dim.Render(kit.Seconds(e.Latency.Seconds())), st.Dim.Render(strings.TrimSpace(kit.Clean(e.Source) + " " + kit.Clean(e.Agent))),
		}
		return strings.Join(parts, "  ")
	}
}

// auditStyle is the style of the answer's code.
func auditStyle(st *kit.Styles, e observe.AuditEntry) lipgloss.Style {
	switch {
	case e.Denied() || e.Code >= 500:
		return st.Bad
	case e.Code >= 400:
		return st.Warn
	}
	return st.Good
}
