package ui

import (
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
)

// column is one column of a table. Columns that do not fit are left out, the highest drop first; what is still too wide
// shrinks to its min; grow takes what is left over.
type column struct {
	title string
	min   int  // cells it needs at least; 0 means as wide as its content
	max   int  // cells it never exceeds; 0 means no limit
	drop  int  // 0 is never left out
	grow  bool // takes the rest of the line
	off   bool // never shown
	right bool // aligned to the right, as numbers are
}

// cell is text in a style, or something that draws itself into a width; then text only tells how much room it wants.
type cell struct {
	text string
	look func(*styles) lipgloss.Style
	draw func(st *styles, w int) string
}

func txt(s string) cell { return cell{text: s} }
func soft(s string) cell {
	return cell{text: s, look: func(st *styles) lipgloss.Style { return st.dim }}
}

// table is a list with a cursor. Rows are asked for only when they are seen, so its length does not matter. The cursor
// stays on the same row (by id) when rows come and go.
type table struct {
	cols   []column
	n      int
	row    func(i int) []cell
	id     func(i int) string
	cursor int
	offset int
	marked map[string]bool
	widths []int // seen so far: columns grow and do not jump back while one scrolls
	sized  int   // width the widths were made for
	top    int   // line of the first row within its screen, for the mouse
	height int   // rows shown last
}

// setRows replaces the content and keeps the cursor on its row.
func (t *table) setRows(n int, id func(int) string, row func(int) []cell) {
	was := t.current()
	t.n, t.id, t.row = n, id, row
	if was == "" || t.cursor < n && id(t.cursor) == was {
		t.clamp()
		return
	}
	for i := range n {
		if id(i) == was {
			t.cursor = i
			break
		}
	}
	t.clamp()
}

func (t *table) setCols(cols []column) {
	t.cols, t.widths = cols, nil
}

// current is the id of the row under the cursor; empty without rows.
func (t *table) current() string {
	if t.id == nil || t.cursor < 0 || t.cursor >= t.n {
		return ""
	}
	return t.id(t.cursor)
}

func (t *table) clamp() { t.cursor = max(0, min(t.cursor, t.n-1)) }

func (t *table) move(by int) {
	t.cursor += by
	t.clamp()
}

// handle answers the keys and the mouse that move the cursor; false if msg is none of them.
func (t *table) handle(msg tea.Msg, k *keyMap) bool {
	switch msg := msg.(type) {
	case tea.KeyMsg:
		page := max(1, t.height-1)
		switch {
		case k.up.match(msg):
			t.move(-1)
		case k.down.match(msg):
			t.move(1)
		case k.pageUp.match(msg):
			t.move(-page)
		case k.pageDown.match(msg):
			t.move(page)
		case k.home.match(msg):
			t.move(-t.n)
		case k.end.match(msg):
			t.move(t.n)
		default:
			return false
		}
		return true
	case tea.MouseMsg:
		switch {
		case msg.Button == tea.MouseButtonWheelUp:
			t.move(-3)
		case msg.Button == tea.MouseButtonWheelDown:
			t.move(3)
		case msg.Action == tea.MouseActionPress && msg.Button == tea.MouseButtonLeft:
			if i := msg.Y - t.top; i >= 0 && i < t.height && t.offset+i < t.n {
				t.cursor = t.offset + i
			}
		default:
			return false
		}
		return true
	}
	return false
}

// view draws a line of titles and as many rows as fit. top is the line of the table within its screen.
func (t *table) view(st *styles, a area, top int, focused bool) string {
	if a.h <= 0 || a.w <= 0 {
		return ""
	}
	t.clamp()
	t.height, t.top = max(0, a.h-1), top+1
	if t.cursor < t.offset {
		t.offset = t.cursor
	}
	if t.cursor >= t.offset+t.height {
		t.offset = t.cursor - t.height + 1
	}
	t.offset = max(0, min(t.offset, t.n-t.height))
	var rows [][]cell
	for i := t.offset; i < min(t.n, t.offset+t.height); i++ {
		rows = append(rows, t.row(i))
	}
	shown, widths := t.layout(rows, a.w-2)
	lines := make([]string, 0, a.h)
	lines = append(lines, "  "+t.line(st, shown, widths, t.titles(), true))
	for i, r := range rows {
		at := t.offset + i
		selected := at == t.cursor
		lines = append(lines, t.mark(st, at, selected, focused)+t.line(st.on(selected && focused), shown, widths, r, false))
	}
	return block(strings.Join(lines, "\n"), a)
}

func (t *table) mark(st *styles, i int, selected, focused bool) string {
	on := st.on(selected && focused)
	glyph, style := " ", on.text
	switch {
	case selected && focused:
		glyph, style = "▌", on.accent
	case selected:
		glyph, style = "▏", on.dim
	}
	second := " "
	if len(t.marked) > 0 && t.marked[t.id(i)] {
		second = "*"
	}
	return style.Render(glyph) + on.warn.Render(second)
}

func (t *table) titles() []cell {
	out := make([]cell, len(t.cols))
	for i, c := range t.cols {
		out[i] = soft(strings.ToUpper(c.title))
	}
	return out
}

const gap = 2 // cells between columns

// layout chooses the columns that fit w and how wide each is.
func (t *table) layout(rows [][]cell, w int) (shown, widths []int) {
	if t.sized != w || len(t.widths) != len(t.cols) {
		t.widths, t.sized = make([]int, len(t.cols)), w
		for i, c := range t.cols {
			t.widths[i] = max(1, width(c.title))
		}
	}
	for _, r := range rows {
		for i := range min(len(r), len(t.cols)) {
			if r[i].draw != nil && r[i].text == "" { // a drawing takes what it may have
				t.widths[i] = max(t.widths[i], t.cols[i].max)
				continue
			}
			t.widths[i] = max(t.widths[i], width(clean(r[i].text)))
		}
	}
	for i, c := range t.cols {
		if !c.off {
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

func (t *table) natural(i int) int {
	n := t.widths[i]
	if t.cols[i].max > 0 {
		n = min(n, t.cols[i].max)
	}
	return n
}

// least is what a column needs to be worth showing.
func (t *table) least(i int) int {
	if t.cols[i].min > 0 {
		return min(t.cols[i].min, t.natural(i))
	}
	return t.natural(i)
}

func (t *table) leaveOut(shown *[]int) bool {
	worst := -1
	for at, i := range *shown {
		if t.cols[i].drop > 0 && (worst < 0 || t.cols[i].drop > t.cols[(*shown)[worst]].drop) {
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
func (t *table) share(shown []int, w int) []int {
	out := make([]int, len(shown))
	sum := gap * (len(shown) - 1)
	for at, i := range shown {
		out[at] = t.natural(i)
		sum += out[at]
	}
	for sum > w {
		widest := -1
		for at, i := range shown {
			if out[at] > max(t.least(i), 1) && (t.cols[i].min > 0 || !t.anyShrinks(shown, out)) && (widest < 0 || out[at] > out[widest]) {
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
		if t.cols[i].grow && sum < w {
			out[at] += w - sum
			break
		}
	}
	return out
}

// anyShrinks reports whether a column with a declared minimum still has room to give.
func (t *table) anyShrinks(shown, out []int) bool {
	for at, i := range shown {
		if t.cols[i].min > 0 && out[at] > t.least(i) {
			return true
		}
	}
	return false
}

func (t *table) line(st *styles, shown, widths []int, cells []cell, head bool) string {
	var b strings.Builder
	for at, i := range shown {
		if at > 0 {
			b.WriteString(st.text.Render("  "))
		}
		var c cell
		if i < len(cells) {
			c = cells[i]
		}
		if c.draw != nil && !head {
			b.WriteString(fitOn(st, c.draw(st, widths[at]), widths[at]))
			continue
		}
		s := fit(clean(c.text), widths[at])
		if t.cols[i].right {
			s = fitRight(clean(c.text), widths[at])
		}
		look := st.text
		if c.look != nil {
			look = c.look(st)
		}
		b.WriteString(look.Render(s))
	}
	if pad := t.sized - width(b.String()); pad > 0 {
		b.WriteString(st.text.Render(strings.Repeat(" ", pad)))
	}
	return b.String()
}

// fitOn is fit with the padding in the row's own background.
func fitOn(st *styles, s string, w int) string {
	s = cut(s, w)
	if n := w - width(s); n > 0 {
		return s + st.text.Render(strings.Repeat(" ", n))
	}
	return s
}
