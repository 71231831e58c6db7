package kit

import (
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
)

// Column is one column of a table. Columns that do not fit are left out, the highest drop first; what is still too wide
// shrinks to its min; grow takes what is left over.
type Column struct {
	Title string
	Min   int  // cells it needs at least; 0 means as wide as its content
	Max   int  // cells it never exceeds; 0 means no limit
	Drop  int  // 0 is never left out
	Grow  bool // takes the rest of the line
	Off   bool // never shown
	Right bool // aligned to the right, as numbers are
}

// Cell is text in a style, or something that draws itself into a width; then text only tells how much room it wants.
type Cell struct {
	Text  string
	Style func(*Styles) lipgloss.Style
	Draw  func(st *Styles, w int) string
}

func Text(s string) Cell { return Cell{Text: s} }
func Dim(s string) Cell {
	return Cell{Text: s, Style: func(st *Styles) lipgloss.Style { return st.Dim }}
}

// Table is a list with a cursor. Rows are asked for only when they are seen, so its length does not matter. The cursor
// stays on the same row (by id) when rows come and go.
type Table struct {
	Cols   []Column
	n      int
	row    func(i int) []Cell
	id     func(i int) string
	Cursor int
	offset int
	Marked map[string]bool
	widths []int // seen so far: columns grow and do not jump back while one scrolls
	sized  int   // width the widths were made for
	Top    int   // line of the first row within its screen, for the mouse
	height int   // rows shown last
}

// SetRows replaces the content and keeps the cursor on its row.
func (t *Table) SetRows(n int, id func(int) string, row func(int) []Cell) {
	was := t.Current()
	t.n, t.id, t.row = n, id, row
	if was == "" || t.Cursor < n && id(t.Cursor) == was {
		t.clamp()
		return
	}
	for i := range n {
		if id(i) == was {
			t.Cursor = i
			break
		}
	}
	t.clamp()
}

func (t *Table) SetCols(cols []Column) {
	t.Cols, t.widths = cols, nil
}

// Current is the id of the row under the cursor; empty without rows.
func (t *Table) Current() string {
	if t.id == nil || t.Cursor < 0 || t.Cursor >= t.n {
		return ""
	}
	return t.id(t.Cursor)
}

func (t *Table) clamp() { t.Cursor = max(0, min(t.Cursor, t.n-1)) }

func (t *Table) Move(by int) {
	t.Cursor += by
	t.clamp()
}

// Handle answers the keys and the mouse that move the cursor; false if msg is none of them.
func (t *Table) Handle(msg tea.Msg, k MoveKeys) bool {
	switch msg := msg.(type) {
	case tea.KeyMsg:
		page := max(1, t.height-1)
		switch {
		case k.Up.Match(msg):
			t.Move(-1)
		case k.Down.Match(msg):
			t.Move(1)
		case k.PageUp.Match(msg):
			t.Move(-page)
		case k.PageDown.Match(msg):
			t.Move(page)
		case k.Home.Match(msg):
			t.Move(-t.n)
		case k.End.Match(msg):
			t.Move(t.n)
		default:
			return false
		}
		return true
	case tea.MouseMsg:
		switch {
		case msg.Button == tea.MouseButtonWheelUp:
			t.Move(-3)
		case msg.Button == tea.MouseButtonWheelDown:
			t.Move(3)
		case msg.Action == tea.MouseActionPress && msg.Button == tea.MouseButtonLeft:
			if i := msg.Y - t.Top; i >= 0 && i < t.height && t.offset+i < t.n {
				t.Cursor = t.offset + i
			}
		default:
			return false
		}
		return true
	}
	return false
}

// View draws a line of titles and as many rows as fit. top is the line of the table within its screen.
func (t *Table) View(st *Styles, a Area, top int, focused bool) string {
	if a.H <= 0 || a.W <= 0 {
		return ""
	}
	t.clamp()
	t.height, t.Top = max(0, a.H-1), top+1
	if t.Cursor < t.offset {
		t.offset = t.Cursor
	}
	if t.Cursor >= t.offset+t.height {
		t.offset = t.Cursor - t.height + 1
	}
	t.offset = max(0, min(t.offset, t.n-t.height))
	var rows [][]Cell
	for i := t.offset; i < min(t.n, t.offset+t.height); i++ {
		rows = append(rows, t.row(i))
	}
	shown, widths := t.layout(rows, a.W-2)
	lines := make([]string, 0, a.H)
	lines = append(lines, "  "+t.line(st, shown, widths, t.titles(), true))
	for i, r := range rows {
		at := t.offset + i
		selected := at == t.Cursor
		lines = append(lines, t.mark(st, at, selected, focused)+t.line(st.on(selected && focused), shown, widths, r, false))
	}
	return Block(strings.Join(lines, "\n"), a)
}

func (t *Table) mark(st *Styles, i int, selected, focused bool) string {
	on := st.on(selected && focused)
	glyph, style := " ", on.Text
	switch {
	case selected && focused:
		glyph, style = "▌", on.Accent
	case selected:
		glyph, style = "▏", on.Dim
	}
	second := " "
	if len(t.Marked) > 0 && t.Marked[t.id(i)] {
		second = "*"
	}
	return style.Render(glyph) + on.Warn.Render(second)
}

func (t *Table) titles() []Cell {
	out := make([]Cell, len(t.Cols))
	for i, c := range t.Cols {
		out[i] = Dim(strings.ToUpper(c.Title))
	}
	return out
}

const gap = 2 // cells between columns

// layout chooses the columns that fit w and how wide each is.
func (t *Table) layout(rows [][]Cell, w int) (shown, widths []int) {
	if t.sized != w || len(t.widths) != len(t.Cols) {
		t.widths, t.sized = make([]int, len(t.Cols)), w
		for i, c := range t.Cols {
			t.widths[i] = max(1, Width(c.Title))
		}
	}
	for _, r := range rows {
		for i := range min(len(r), len(t.Cols)) {
			if r[i].Draw != nil && r[i].Text == "" { // a drawing takes what it may have
				t.widths[i] = max(t.widths[i], t.Cols[i].Max)
				continue
			}
			t.widths[i] = max(t.widths[i], Width(Clean(r[i].Text)))
		}
	}
	for i, c := range t.Cols {
		if !c.Off {
			shown = append(shown, i)
		}
	}
	for {
		need := -gap
		for _, i := range shown {
			need += t.least(i) + gap
		}
		if need <= w || !t.leaveOut(&shown) {
			break
		}
	}
	return shown, t.share(shown, w)
}

func (t *Table) natural(i int) int {
	n := t.widths[i]
	if t.Cols[i].Max > 0 {
		n = min(n, t.Cols[i].Max)
	}
	return n
}

// least is what a column needs to be worth showing.
func (t *Table) least(i int) int {
	if t.Cols[i].Min > 0 {
		return min(t.Cols[i].Min, t.natural(i))
	}
	return t.natural(i)
}

func (t *Table) leaveOut(shown *[]int) bool {
	worst := -1
	for at, i := range *shown {
		if t.Cols[i].Drop > 0 && (worst < 0 || t.Cols[i].Drop > t.Cols[(*shown)[worst]].Drop) {
			worst = at
		}
	}
	if worst < 0 {
		return false
	}
	*shown = append((*shown)[:worst], (*shown)[worst+1:]...)
	return true
}

// share gives every column its content's width, then takes from the widest or gives to the one that grows.
func (t *Table) share(shown []int, w int) []int {
	out := make([]int, len(shown))
	sum := gap * (len(shown) - 1)
	for at, i := range shown {
		out[at] = t.natural(i)
		sum += out[at]
	}
	for sum > w {
		widest := -1
		for at, i := range shown {
			if out[at] > max(t.least(i), 1) && (t.Cols[i].Min > 0 || !t.anyShrinks(shown, out)) && (widest < 0 || out[at] > out[widest]) {
				widest = at
			}
		}
		if widest < 0 {
			break
		}
		out[widest]--
		sum--
	}
	for at, i := range shown {
		if t.Cols[i].Grow && sum < w {
			out[at] += w - sum
			break
		}
	}
	return out
}

// anyShrinks reports whether a column with a declared minimum still has room to give.
func (t *Table) anyShrinks(shown, out []int) bool {
	for at, i := range shown {
		if t.Cols[i].Min > 0 && out[at] > t.least(i) {
			return true
		}
	}
	return false
}

func (t *Table) line(st *Styles, shown, widths []int, cells []Cell, head bool) string {
	var b strings.Builder
	for at, i := range shown {
		if at > 0 {
			b.WriteString(st.Text.Render("  "))
		}
		var c Cell
		if i < len(cells) {
			c = cells[i]
		}
		if c.Draw != nil && !head {
			b.WriteString(fitOn(st, c.Draw(st, widths[at]), widths[at]))
			continue
		}
		s := Fit(Clean(c.Text), widths[at])
		if t.Cols[i].Right {
			s = FitRight(Clean(c.Text), widths[at])
		}
		look := st.Text
		if c.Style != nil {
			look = c.Style(st)
		}
		b.WriteString(look.Render(s))
	}
	if pad := t.sized - Width(b.String()); pad > 0 {
		b.WriteString(st.Text.Render(strings.Repeat(" ", pad)))
	}
	return b.String()
}

// fitOn is fit with the padding in the row's own background.
func fitOn(st *Styles, s string, w int) string {
	s = Cut(s, w)
	if n := w - Width(s); n > 0 {
		return s + st.Text.Render(strings.Repeat(" ", n))
	}
	return s
}
