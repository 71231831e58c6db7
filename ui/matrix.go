package ui

import (
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

const matrixHead = 2 // lines above the first row of the matrix

func (p *policies) view(st *styles, a area) string {
	var tabs []string
	for i, n := range []string{"Workloads", "Namespaces", "Policies", "Denials"} {
		if policyPart(i) == p.part {
			tabs = append(tabs, st.tabOn.Render(n))
		} else {
			tabs = append(tabs, st.dim.Render(n))
		}
	}
	right := st.dim.Render(count(len(p.w.snap.Policies), "policy") + " ")
	if p.part < partPolicies {
		right = st.dim.Render("who reaches whom on ") + st.accent.Render(p.ports.String()) + " "
	}
	head := spread(" "+strings.Join(tabs, st.faint.Render(" · ")), right, a.w)
	return head + "\n" + p.content(st, area{a.w, a.h - 1})
}

func (p *policies) content(st *styles, a area) string {
	s := p.w.snap
	switch {
	case !s.Has("pods") || !s.Has("networkpolicies"):
		return st.skeleton("loading pods and policies", p.w.frame, a)
	case p.part == partPolicies && len(p.list) == 0:
		return st.empty("No NetworkPolicy here: everything may talk to everything", "a policy isolates the pods it selects; what none allows is then denied", a)
	case p.part == partPolicies:
		return p.table.view(st, a, 1, true)
	case p.part == partDenials:
		return p.denialFeed(st, a)
	case len(p.peers) == 0:
		return st.empty("No pods with an address here", "n chooses another namespace", a)
	}
	explain := 6
	switch {
	case a.h < 14:
		explain = 3
	case a.h >= 20:
		explain = 8
	}
	p.budget = perFrame
	grid := p.grid(st, area{a.w, a.h - explain})
	return grid + "\n" + p.explanation(st, area{a.w, explain})
}

// grid draws the visible part of the matrix; columns carry the numbers of the rows.
func (p *policies) grid(st *styles, a area) string {
	label := 8
	for _, x := range p.peers {
		label = max(label, width(clean(x.name)))
	}
	label = min(label, max(12, a.w/3))
	p.rows, p.cols = max(1, a.h-1), max(1, (a.w-label-7)/3)
	p.top = scrollTo(p.top, p.row, p.rows)
	p.left = scrollTo(p.left, p.col, p.cols)
	head := strings.Repeat(" ", label+6)
	for j := p.left; j < min(len(p.peers), p.left+p.cols); j++ {
		style := st.dim
		if j == p.col {
			style = st.tabOn
		}
		head += style.Render(fitRight(fmt.Sprint((j+1)%100), 3))
	}
	lines := []string{head}
	for i := p.top; i < min(len(p.peers), p.top+p.rows); i++ {
		name := st.text
		if i == p.row {
			name = st.tabOn
		}
		l := " " + st.dim.Render(fitRight(fmt.Sprint(i+1), 3)) + " " + name.Render(fit(clean(p.peers[i].name), label)) + " "
		for j := p.left; j < min(len(p.peers), p.left+p.cols); j++ {
			l += p.cell(st, i, j)
		}
		lines = append(lines, l)
	}
	return block(strings.Join(lines, "\n"), a)
}

func scrollTo(first, at, n int) int {
	if at < first {
		return at
	}
	return max(first, at-n+1)
}

func (p *policies) cell(st *styles, i, j int) string {
	c, ok := p.pair(i, j)
	allowed, all := c.allowed, c.all
	glyph, style := "●", st.good
	switch {
	case !ok:
		glyph, style = "…", st.faint
	case all == 0 || i == j && all == 1, len(p.peers[i].pods) == 0 && len(p.peers[j].pods) == 0:
		glyph, style = "·", st.faint
	case allowed == 0:
		glyph, style = "✖", st.bad
	case allowed < all:
		glyph, style = "◐", st.warn
	}
	if i == p.row && j == p.col {
		return st.borderOn.Render("[") + style.Bold(true).Render(glyph) + st.borderOn.Render("]")
	}
	return " " + style.Render(glyph) + " "
}

// explanation says about the pair under the cursor which policy and rule decides.
func (p *policies) explanation(st *styles, a area) string {
	from, to := p.peers[p.row], p.peers[p.col]
	p.budget = max(p.budget, 1) // the chosen pair is always judged
	c, _ := p.pair(p.row, p.col)
	allowed, all, v := c.allowed, c.all, c.verdict
	word := st.good.Render("● allowed")
	switch {
	case allowed == 0:
		word = st.bad.Render("✖ denied")
	case allowed < all:
		word = st.warn.Render(fmt.Sprintf("◐ %d of %d allowed", allowed, all))
	}
	title := clean(from.name) + " → " + clean(to.name) + " " + p.ports.String()
	side := func(name string, ok bool, text string) string {
		mark := st.good.Render("✓")
		if !ok {
			mark = st.bad.Render("✗")
		}
		lines := wrap(text, a.w-14)
		out := mark + " " + st.dim.Render(fit(name, 8)) + st.text.Render(lines[0])
		if len(lines) > 1 && a.h >= 8 {
			out += "\n" + strings.Repeat(" ", 10) + st.text.Render(strings.Join(lines[1:], " "))
		}
		return out
	}
	if a.h < 6 {
		text := v.Ingress.Text
		if !v.Egress.Allowed {
			text = v.Egress.Text
		}
		return block(" "+word+"  "+st.title.Render(title)+"\n "+st.dim.Render(clean(text)), a)
	}
	lines := []string{word + st.dim.Render("  "+clean(v.From)+" → "+clean(v.To)), side("egress", v.Egress.Allowed, v.Egress.Text), side("ingress", v.Ingress.Allowed, v.Ingress.Text)}
	lines = append(lines, st.dim.Render(p.verdictNote(from, to)))
	return st.panel(title, "● yes  ◐ some  ✖ no", strings.Join(lines, "\n"), a, true)
}

// verdictNote says what was seen of real traffic, or why nothing can be seen.
func (p *policies) verdictNote(from, to peer) string {
	live := p.w.snap.Verdicts
	switch s := p.m.session; {
	case live != nil && len(live.Counters) > 0:
		allowed, denied := live.Between(p.members(from), p.members(to), p.ports.proto, p.ports.port)
		return fmt.Sprintf("seen on the nodes: %s allowed, %d denied", count(int(allowed), "connection"), denied)
	case s != nil && s.target.Layout != nil:
		return "computed by the model that the nodes enforce; no node has reported yet"
	}
	return "computed from the objects; verdicts on live traffic need a kl cluster"
}

// denialFeed lists connections that were refused, as they happen.
func (p *policies) denialFeed(st *styles, a area) string {
	s := p.m.session
	switch {
	case p.w.snap.Verdicts == nil && s != nil && s.target.Layout == nil:
		return st.empty("Who was refused is known for kl's own clusters", "the matrix (m) says for any cluster who would be", a)
	case len(p.denials) == 0 && p.w.filter != "":
		return st.empty("No denial matches /"+clean(p.w.filter), "esc clears the filter", a)
	case len(p.denials) == 0:
		return st.empty("Nothing was refused so far", "a denial appears here within a second", a)
	}
	return p.feed.view(st, a, 1, true)
}

func (p *policies) click(msg tea.MouseMsg) {
	label := 8
	for _, x := range p.peers {
		label = max(label, width(clean(x.name)))
	}
	label = min(label, max(12, p.m.size.w/3))
	i, j := msg.Y-matrixHead+p.top, (msg.X-label-6)/3+p.left
	if i >= p.top && i < len(p.peers) {
		p.row = i
	}
	if msg.X >= label+6 && j < len(p.peers) {
		p.col = j
	}
}
