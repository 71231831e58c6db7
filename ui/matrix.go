package ui

import (
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/klkube/kl/ui/kit"
)

const matrixTop = 2 // line of the first row, within the screen

// grid is the window over the matrix.
type grid struct {
	label      int // width of the names
	rows, cols int // size in rows and columns of the matrix
	top, left  int // first row and column in the window
}

// fit makes the window as large as the area allows and moves it to the cursor.
func (g *grid) fit(peers []peer, row, col int, a kit.Area) {
	label := 8
	for _, x := range peers {
		label = max(label, kit.Width(kit.Clean(x.name)))
	}
	g.label = min(label, max(12, a.W/3))
	g.rows, g.cols = max(1, a.H-1), max(1, (a.W-g.label-7)/3)
	g.top, g.left = scrollTo(g.top, row, g.rows), scrollTo(g.left, col, g.cols)
}

// each calls f for every pair in the window over a matrix of n peers.
func (g *grid) each(n int, f func(row, col int)) {
	for i := g.top; i < min(n, g.top+g.rows); i++ {
		for j := g.left; j < min(n, g.left+g.cols); j++ {
			f(i, j)
		}
	}
}

func (p *policies) view(st *kit.Styles, a kit.Area) string {
	var tabs []string
	for i, n := range []string{"Workloads", "Namespaces", "Policies", "Denials"} {
		if policyPart(i) == p.part {
			tabs = append(tabs, st.TabOn.Render(n))
		} else {
			tabs = append(tabs, st.Dim.Render(n))
		}
	}
	right := st.Dim.Render(kit.Count(len(p.state.snap.Policies), "policy") + " ")
	if p.part < partPolicies {
		right = st.Dim.Render("who reaches whom on ") + st.Accent.Render(p.ports.String()) + " "
	}
	head := kit.Spread(" "+strings.Join(tabs, st.Faint.Render(" · ")), right, a.W)
	return head + "\n" + p.content(st, kit.Area{W: a.W, H: a.H - 1})
}

func (p *policies) content(st *kit.Styles, a kit.Area) string {
	s := p.state.snap
	refused, hint := p.state.refused("pods", "networkpolicies")
	switch {
	case !s.Has("pods") || !s.Has("networkpolicies"):
		return st.Skeleton("loading pods and policies", p.state.frame, a)
	case refused != "":
		return st.Empty(refused, hint, a)
	case p.part == partPolicies && len(p.list) == 0:
		return st.Empty("No NetworkPolicy here: everything may talk to everything", "a policy isolates the pods it selects; what none allows is then denied", a)
	case p.part == partPolicies:
		return p.table.View(st, true)
	case p.part == partDenials:
		return p.denialFeed(st, a)
	case len(p.peers) == 0:
		return st.Empty("No pods with an address here", "n chooses another namespace", a)
	}
	explain := explanationHeight(a)
	return p.matrix(st, kit.Area{W: a.W, H: a.H - explain}) + "\n" + p.explanation(st, kit.Area{W: a.W, H: explain})
}

// explanationHeight is the height of the explanation below the matrix.
func explanationHeight(a kit.Area) int {
	switch {
	case a.H < 14:
		return 3
	case a.H >= 20:
		return 8
	}
	return 6
}

func (p *policies) resize(a kit.Area) {
	a.H-- // the line of tabs
	switch p.part {
	case partPolicies:
		p.table.Resize(a, 1)
	case partDenials:
		p.feed.Resize(a, 1)
	default:
		p.grid.fit(p.peers, p.row, p.col, kit.Area{W: a.W, H: a.H - explanationHeight(a)})
		p.judge()
	}
}

// matrix draws the window over the matrix. A column has the number of the row of the same peer.
func (p *policies) matrix(st *kit.Styles, a kit.Area) string {
	g := &p.grid
	head := strings.Repeat(" ", g.label+6)
	for j := g.left; j < min(len(p.peers), g.left+g.cols); j++ {
		style := st.Dim
		if j == p.col {
			style = st.TabOn
		}
		head += style.Render(kit.FitRight(fmt.Sprint((j+1)%100), 3))
	}
	lines := []string{head}
	for i := g.top; i < min(len(p.peers), g.top+g.rows); i++ {
		name := st.Text
		if i == p.row {
			name = st.TabOn
		}
		l := " " + st.Dim.Render(kit.FitRight(fmt.Sprint(i+1), 3)) + " " + name.Render(kit.Fit(kit.Clean(p.peers[i].name), g.label)) + " "
		for j := g.left; j < min(len(p.peers), g.left+g.cols); j++ {
			l += p.cell(st, i, j)
		}
		lines = append(lines, l)
	}
	return kit.Block(strings.Join(lines, "\n"), a)
}

// scrollTo returns where a window of n lines that begins at first must begin so that it contains line at.
func scrollTo(first, at, n int) int {
	if at < first {
		return at
	}
	return max(first, at-n+1)
}

// cell draws the verdict about a pair, with brackets under the cursor.
func (p *policies) cell(st *kit.Styles, i, j int) string {
	c, ok := p.verdicts[[2]int{i, j}]
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

// explanation says whether the pair under the cursor may connect, and which policies decide that.
func (p *policies) explanation(st *kit.Styles, a kit.Area) string {
	from, to := p.peers[p.row], p.peers[p.col]
	c := p.verdicts[[2]int{p.row, p.col}]
	word := st.Good.Render("● allowed")
	switch {
	case c.allowed == 0:
		word = st.Bad.Render("✖ denied")
	case c.allowed < c.all:
		word = st.Warn.Render(fmt.Sprintf("◐ %d of %d allowed", c.allowed, c.all))
	}
	title := kit.Clean(from.name) + " → " + kit.Clean(to.name) + " " + p.ports.String()
	v := c.verdict
	if a.H < 6 {
		text := v.Ingress.Text
		if !v.Egress.Allowed {
			text = v.Egress.Text
		}
		return kit.Block(" "+word+"  "+st.Title.Render(title)+"\n "+st.Dim.Render(kit.Clean(text)), a)
	}
	lines := []string{word + st.Dim.Render("  "+kit.Clean(v.From)+" → "+kit.Clean(v.To)),
		sideLine(st, "egress", v.Egress.Allowed, v.Egress.Text, a), sideLine(st, "ingress", v.Ingress.Allowed, v.Ingress.Text, a),
		st.Dim.Render(p.verdictNote(from, to))}
	return st.Panel(title, "● yes  ◐ some  ✖ no", strings.Join(lines, "\n"), a, true)
}

// sideLine says what one side of a connection decides and why, in one line or two.
func sideLine(st *kit.Styles, name string, ok bool, text string, a kit.Area) string {
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

// verdictNote says what the nodes have counted for a pair, or why there are no counts.
func (p *policies) verdictNote(from, to peer) string {
	live := p.state.snap.Verdicts
	switch s := p.sh.session(); {
	case live != nil && len(live.Counters) > 0:
		allowed, denied := live.Between(p.members(from), p.members(to), p.ports.proto, p.ports.port)
		return fmt.Sprintf("seen on the nodes: %s allowed, %d denied", kit.Count(int(allowed), "connection"), denied)
	case s != nil && s.target.Layout != nil:
		return "computed by the model that the nodes enforce; no node has reported yet"
	}
	return "computed from the objects; verdicts on live traffic need a kl cluster"
}

// denialFeed lists denied connections as they happen.
func (p *policies) denialFeed(st *kit.Styles, a kit.Area) string {
	s := p.sh.session()
	switch {
	case p.state.snap.Verdicts == nil && s != nil && s.target.Layout == nil:
		return st.Empty("Denials are recorded on kl clusters only", "the matrix (m) shows what policies deny in any cluster", a)
	case len(p.denials) == 0 && p.state.filter != "":
		return st.Empty("No denial matches /"+kit.Clean(p.state.filter), "esc clears the filter", a)
	case len(p.denials) == 0:
		return st.Empty("No connection has been denied so far", "a denial appears here within a second", a)
	}
	return p.feed.View(st, true)
}

// click puts the cursor on the pair, or on the row, that the mouse points at.
func (p *policies) click(msg tea.MouseMsg) {
	g := &p.grid
	i, j := msg.Y-matrixTop+g.top, (msg.X-g.label-6)/3+g.left
	if i >= g.top && i < len(p.peers) {
		p.row = i
	}
	if msg.X >= g.label+6 && j < len(p.peers) {
		p.col = j
	}
}
