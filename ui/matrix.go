package ui

import (
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/klkube/kl/ui/kit"
)

const matrixHead = 2 // lines above the first row of the matrix

func (p *policies) view(st *kit.Styles, a kit.Area) string {
	var tabs []string
	for i, n := range []string{"Workloads", "Namespaces", "Policies", "Denials"} {
		if policyPart(i) == p.part {
			tabs = append(tabs, st.TabOn.Render(n))
		} else {
			tabs = append(tabs, st.Dim.Render(n))
		}
	}
	right := st.Dim.Render(kit.Count(len(p.w.snap.Policies), "policy") + " ")
	if p.part < partPolicies {
		right = st.Dim.Render("who reaches whom on ") + st.Accent.Render(p.ports.String()) + " "
	}
	head := kit.Spread(" "+strings.Join(tabs, st.Faint.Render(" · ")), right, a.W)
	return head + "\n" + p.content(st, kit.Area{W: a.W, H: a.H - 1})
}

func (p *policies) content(st *kit.Styles, a kit.Area) string {
	s := p.w.snap
	switch {
	case !s.Has("pods") || !s.Has("networkpolicies"):
		return st.Skeleton("loading pods and policies", p.w.frame, a)
	case p.part == partPolicies && len(p.list) == 0:
		return st.Empty("No NetworkPolicy here: everything may talk to everything", "a policy isolates the pods it selects; what none allows is then denied", a)
	case p.part == partPolicies:
		return p.table.View(st, a, 1, true)
	case p.part == partDenials:
		return p.denialFeed(st, a)
	case len(p.peers) == 0:
		return st.Empty("No pods with an address here", "n chooses another namespace", a)
	}
	explain := 6
	switch {
	case a.H < 14:
		explain = 3
	case a.H >= 20:
		explain = 8
	}
	p.budget = perFrame
	grid := p.grid(st, kit.Area{W: a.W, H: a.H - explain})
	return grid + "\n" + p.explanation(st, kit.Area{W: a.W, H: explain})
}

// grid draws the visible part of the matrix; columns carry the numbers of the rows.
func (p *policies) grid(st *kit.Styles, a kit.Area) string {
	label := 8
	for _, x := range p.peers {
		label = max(label, kit.Width(kit.Clean(x.name)))
	}
	label = min(label, max(12, a.W/3))
	p.rows, p.cols = max(1, a.H-1), max(1, (a.W-label-7)/3)
	p.top = scrollTo(p.top, p.row, p.rows)
	p.left = scrollTo(p.left, p.col, p.cols)
	head := strings.Repeat(" ", label+6)
	for j := p.left; j < min(len(p.peers), p.left+p.cols); j++ {
		style := st.Dim
		if j == p.col {
			style = st.TabOn
		}
		head += style.Render(kit.FitRight(fmt.Sprint((j+1)%100), 3))
	}
	lines := []string{head}
	for i := p.top; i < min(len(p.peers), p.top+p.rows); i++ {
		name := st.Text
		if i == p.row {
			name = st.TabOn
		}
		l := " " + st.Dim.Render(kit.FitRight(fmt.Sprint(i+1), 3)) + " " + name.Render(kit.Fit(kit.Clean(p.peers[i].name), label)) + " "
		for j := p.left; j < min(len(p.peers), p.left+p.cols); j++ {
			l += p.cell(st, i, j)
		}
		lines = append(lines, l)
	}
	return kit.Block(strings.Join(lines, "\n"), a)
}

func scrollTo(first, at, n int) int {
	if at < first {
		return at
	}
	return max(first, at-n+1)
}

func (p *policies) cell(st *kit.Styles, i, j int) string {
	c, ok := p.pair(i, j)
	allowed, all := c.allowed, c.all
	glyph, style := "●", st.Good
	switch {
	case !ok:
		glyph, style = "…", st.Faint
	case all == 0 || i == j && all == 1, len(p.peers[i].pods) == 0 && len(p.peers[j].pods) == 0:
		glyph, style = "·", st.Faint
	case allowed == 0:
		glyph, style = "✖", st.Bad
	case allowed < all:
		glyph, style = "◐", st.Warn
	}
	if i == p.row && j == p.col {
		return st.BorderOn.Render("[") + style.Bold(true).Render(glyph) + st.BorderOn.Render("]")
	}
	return " " + style.Render(glyph) + " "
}

// explanation says about the pair under the cursor which policy and rule decides.
func (p *policies) explanation(st *kit.Styles, a kit.Area) string {
	from, to := p.peers[p.row], p.peers[p.col]
	p.budget = max(p.budget, 1) // the chosen pair is always judged
	c, _ := p.pair(p.row, p.col)
	allowed, all, v := c.allowed, c.all, c.verdict
	word := st.Good.Render("● allowed")
	switch {
	case allowed == 0:
		word = st.Bad.Render("✖ denied")
	case allowed < all:
		word = st.Warn.Render(fmt.Sprintf("◐ %d of %d allowed", allowed, all))
	}
	title := kit.Clean(from.name) + " → " + kit.Clean(to.name) + " " + p.ports.String()
	side := func(name string, ok bool, text string) string {
		mark := st.Good.Render("✓")
		if !ok {
			mark = st.Bad.Render("✗")
		}
		lines := kit.Wrap(text, a.W-14)
		out := mark + " " + st.Dim.Render(kit.Fit(name, 8)) + st.Text.Render(lines[0])
		if len(lines) > 1 && a.H >= 8 {
			out += "\n" + strings.Repeat(" ", 10) + st.Text.Render(strings.Join(lines[1:], " "))
		}
		return out
	}
	if a.H < 6 {
		text := v.Ingress.Text
		if !v.Egress.Allowed {
			text = v.Egress.Text
		}
		return kit.Block(" "+word+"  "+st.Title.Render(title)+"\n "+st.Dim.Render(kit.Clean(text)), a)
	}
	lines := []string{word + st.Dim.Render("  "+kit.Clean(v.From)+" → "+kit.Clean(v.To)), side("egress", v.Egress.Allowed, v.Egress.Text), side("ingress", v.Ingress.Allowed, v.Ingress.Text)}
	lines = append(lines, st.Dim.Render(p.verdictNote(from, to)))
	return st.Panel(title, "● yes  ◐ some  ✖ no", strings.Join(lines, "\n"), a, true)
}

// verdictNote says what was seen of real traffic, or why nothing can be seen.
func (p *policies) verdictNote(from, to peer) string {
	live := p.w.snap.Verdicts
	switch s := p.m.session; {
	case live != nil && len(live.Counters) > 0:
		allowed, denied := live.Between(p.members(from), p.members(to), p.ports.proto, p.ports.port)
		return fmt.Sprintf("seen on the nodes: %s allowed, %d denied", kit.Count(int(allowed), "connection"), denied)
	case s != nil && s.target.Layout != nil:
		return "computed by the model that the nodes enforce; no node has reported yet"
	}
	return "computed from the objects; verdicts on live traffic need a kl cluster"
}

// denialFeed lists connections that were refused, as they happen.
func (p *policies) denialFeed(st *kit.Styles, a kit.Area) string {
	s := p.m.session
	switch {
	case p.w.snap.Verdicts == nil && s != nil && s.target.Layout == nil:
		return st.Empty("Who was refused is known for kl's own clusters", "the matrix (m) says for any cluster who would be", a)
	case len(p.denials) == 0 && p.w.filter != "":
		return st.Empty("No denial matches /"+kit.Clean(p.w.filter), "esc clears the filter", a)
	case len(p.denials) == 0:
		return st.Empty("Nothing was refused so far", "a denial appears here within a second", a)
	}
	return p.feed.View(st, a, 1, true)
}

func (p *policies) click(msg tea.MouseMsg) {
	label := 8
	for _, x := range p.peers {
		label = max(label, kit.Width(kit.Clean(x.name)))
	}
	label = min(label, max(12, p.m.size.W/3))
	i, j := msg.Y-matrixHead+p.top, (msg.X-label-6)/3+p.left
	if i >= p.top && i < len(p.peers) {
		p.row = i
	}
	if msg.X >= label+6 && j < len(p.peers) {
		p.col = j
	}
}
