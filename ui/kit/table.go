package kit

import (
	"slices"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
)

// Column is one column of a table. When the columns do not all fit, those with the highest Drop are left out first; then
// columns shrink down to their Min. A column with Grow takes the room that is left over.
type Column struct {
	Title string
	Min   int  // the cells it needs; 0 means as wide as its content
	Max   int  // the most cells it takes; 0 means no limit
	Drop  int  // 0 is never left out
	Grow  bool // takes the rest of the line
	Right bool // aligned to the right, as numbers are

	hidden bool
}

// Cell is text in a style, or something that draws itself into a width. A cell with both Draw and Text takes the room that
// Text needs; one with Draw alone takes its column's Max.
type Cell struct {
	Text  string
	Style func(*Styles) lipgloss.Style // nil means plain text
	Draw  func(st *Styles, w int) string
}

// Text is a cell of plain text.
func Text(s string) Cell { return Cell{Text: s} }

// Dim is a cell of less important text.
func Dim(s string) Cell {
	return Cell{Text: s, Style: func(st *Styles) lipgloss.Style { return st.Dim }}
}

// Table is a list with a cursor. It asks for the cells of the rows in its window only, so the number of rows does not
// matter. The cursor stays on the same row (by id) when rows come and go. Resize must be called after changes and before
// View.
type Table struct {
	Cursor int             // index of the selected row
	Marked map[string]bool // ids of rows with a mark; nil if rows cannot be marked

	cols   []Column
	n      int
	row    func(i int) []Cell
	id     func(i int) string
	offset int // index of the first row in the window

	// Set by Resize.
	size   Area
	top    int   // line of the first row within its screen, for the mouse
	height int   // rows in the window
	wanted []int // width of each column's content seen so far: columns do not shrink while one scrolls
	fitted int   // width that wanted was measured for
	shown  []int // columns that fit
	widths []int // of the shown columns
}

// SetRows replaces the rows and keeps the cursor on the row it was on. id names row i, row returns its cells; both may be
// called until the next SetRows.
func (t *Table) SetRows(n int, id func(i int) string, row func(i int) []Cell) {
	was := t.Current()
	t.n, t.id, t.row = n, id, row
	if was != "" && (t.Cursor >= n || id(t.Cursor) != was) {
		for i := range n {
			if id(i) == was {
				t.Cursor = i
				break
			}
		}
	}
	t.clamp()
}

// SetCols replaces the columns.
func (t *Table) SetCols(cols []Column) { t.cols, t.wanted = cols, nil }

// Columns is the number of columns.
func (t *Table) Columns() int { return len(t.cols) }

// Hide hides the columns with these titles, or shows them again.
func (t *Table) Hide(hidden bool, titles ...string) {
	for i, c := range t.cols {
		if slices.Contains(titles, c.Title) {
			t.cols[i].hidden = hidden
		}
	}
}

// Top is the line of the table within its screen, as given to Resize.
func (t *Table) Top() int { return t.top - 1 }

// Current returns the id of the row under the cursor, or "" if there are no rows.
func (t *Table) Current() string {
	if t.id == nil || t.Cursor < 0 || t.Cursor >= t.n {
		return ""
	}
	return t.id(t.Cursor)
}

func (t *Table) clamp() { t.Cursor = max(0, min(t.Cursor, t.n-1)) }

// Move moves the cursor down by a number of rows, or up if it is negative.
func (t *Table) Move(by int) {
	t.Cursor += by
	t.clamp()
}

// Handle moves the cursor for the keys and mouse events that move it, and reports whether msg was one of them.
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
			if i := msg.Y - t.top; i >= 0 && i < t.height && t.offset+i < t.n {
				t.Cursor = t.offset + i
			}
		default:
			return false
		}
		return true
	}
	return false
}

// Resize gives the table an area, a line of titles included, that begins at line top of the screen. It moves the window
// to the cursor and lays out the columns for the rows that are then seen.
func (t *Table) Resize(a Area, top int) {
	t.clamp()
	t.size, t.height, t.top = a, max(0, a.H-1), top+1
	if t.Cursor < t.offset {
		t.offset = t.Cursor
	}
	if t.Cursor >= t.offset+t.height {
		t.offset = t.Cursor - t.height + 1
	}
	t.offset = max(0, min(t.offset, t.n-t.height))
	t.measure(a.W - 2)
	t.choose(a.W - 2)
}

// View draws a line of titles and the rows in the window. The cursor is prominent if the table has the focus.
func (t *Table) View(st *Styles, focused bool) string {
	if t.size.H <= 0 || t.size.W <= 0 {
		return ""
	}
	lines := make([]string, 0, t.size.H)
	lines = append(lines, "  "+t.line(st, t.titles(), true))
	for i := t.offset; i < t.windowEnd(); i++ {
		selected := i == t.Cursor
		lines = append(lines, t.mark(st, i, selected, focused)+t.line(st.On(selected && focused), t.row(i), false))
	}
	return Block(strings.Join(lines, "\n"), t.size)
}

// windowEnd is the index after the last row in the window.
func (t *Table) windowEnd() int { return min(t.n, t.offset+t.height) }

// mark draws the two cells in front of a row: the cursor and the mark.
func (t *Table) mark(st *Styles, i int, selected, focused bool) string {
	on := st.On(selected && focused)
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

// titles are the cells of the first line.
func (t *Table) titles() []Cell {
	out := make([]Cell, len(t.cols))
	for i, c := range t.cols {
		out[i] = Dim(strings.ToUpper(c.Title))
	}
	return out
}

const gap = 2 // cells between columns

// measure finds how wide the content of each column is, in the window and in what was seen before at this width.
func (t *Table) measure(w int) {
	if t.fitted != w || len(t.wanted) != len(t.cols) {
		t.wanted, t.fitted = make([]int, len(t.cols)), w
		for i, c := range t.cols {
			t.wanted[i] = max(1, Width(c.Title))
		}
	}
	for at := t.offset; at < t.windowEnd(); at++ {
		row := t.row(at)
		for i := range min(len(row), len(t.cols)) {
			if row[i].Draw != nil && row[i].Text == "" {
				t.wanted[i] = max(t.wanted[i], t.cols[i].Max)
				continue
			}
			t.wanted[i] = max(t.wanted[i], Width(Clean(row[i].Text)))
		}
	}
}

// choose picks the columns that fit into w and how wide each is.
func (t *Table) choose(w int) {
	t.shown = t.shown[:0]
	for i, c := range t.cols {
		if !c.hidden {
			t.shown = append(t.shown, i)
		}
	}
	for {
		need := -gap
		for _, i := range t.shown {
			need += t.least(i) + gap
		}
		if need <= w || !t.leaveOut() {
			break
		}
	}
	t.widths = t.share(w)
}

// natural is how wide a column would like to be.
func (t *Table) natural(i int) int {
	n := t.wanted[i]
	if t.cols[i].Max > 0 {
		n = min(n, t.cols[i].Max)
	}
	return n
}

// least is what a column needs to be worth showing.
func (t *Table) least(i int) int {
	if t.cols[i].Min > 0 {
		return min(t.cols[i].Min, t.natural(i))
	}
	return t.natural(i)
}

// leaveOut drops the most expendable column and reports whether there was one.
func (t *Table) leaveOut() bool {
	worst := -1
	for at, i := range t.shown {
		if t.cols[i].Drop > 0 && (worst < 0 || t.cols[i].Drop > t.cols[t.shown[worst]].Drop) {
			worst = at
		}
	}
	if worst < 0 {
		return false
	}
	t.shown = slices.Delete(t.shown, worst, worst+1)
	return true
}

// share gives every column the width of its content, then takes from the widest or gives to the one that grows.
func (t *Table) share(w int) []int {
	shown := t.shown
	out := make([]int, len(shown))
	sum := gap * (len(shown) - 1)
	for at, i := range shown {
		out[at] = t.natural(i)
		sum += out[at]
	}
	for sum > w {
		widest := -1
		for at, i := range shown {
			if out[at] > max(t.least(i), 1) && (t.cols[i].Min > 0 || !t.anyShrinks(out)) && (widest < 0 || out[at] > out[widest]) {
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
		if t.cols[i].Grow && sum < w {
			out[at] += w - sum
			break
		}
	}
	return out
}

// anyShrinks reports whether a column with a declared minimum still has room to give.
func (t *Table) anyShrinks(out []int) bool {
	for at, i := range t.shown {
		if t.cols[i].Min > 0 && out[at] > t.least(i) {
			return true
		}
	}
	return false
}

// line draws the shown columns of a row, or of the titles.
func (t *Table) line(st *Styles, cells []Cell, titles bool) string {
	var b strings.Builder
	for at, i := range t.shown {
		if at > 0 {
			b.WriteString(st.Text.Render("  "))
		}
		var c Cell
		if i < len(cells) {
			c = cells[i]
		}
		if c.Draw != nil && !titles {
			b.WriteString(fitOn(st, c.Draw(st, t.widths[at]), t.widths[at]))
			continue
		}
		s := Fit(Clean(c.Text), t.widths[at])
		if t.cols[i].Right {
			s = FitRight(Clean(c.Text), t.widths[at])
		}
		style := st.Text
		if c.Style != nil {
			style = c.Style(st)
		}
		b.WriteString(style.Render(s))
	}
	if pad := t.fitted - Width(b.String()); pad > 0 {
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
