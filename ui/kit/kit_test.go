package kit

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/google/go-cmp/cmp"
	"github.com/muesli/termenv"

	"github.com/klkube/kl/ui/kit/goldentest"
)

func styles(profile termenv.Profile) *Styles {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(profile)
	r.SetHasDarkBackground(true)
	return NewStyles(r)
}

func TestGoldens(t *testing.T) { goldentest.CheckTests(t) }

func TestText(t *testing.T) {
	for _, tt := range []struct{ name, got, want string }{
		{"cut", Cut("deployment", 6), "deplo…"},
		{"cut to nothing", Cut("deployment", 0), ""},
		{"cut wide letters", Cut("容器が起動", 5), "容器…"},
		{"fit", Fit("pod", 5), "pod  "},
		{"fit at the right", FitRight("12", 4), "  12"},
		{"block", Block("a\nbcd\ne", Area{2, 2}), "a \nb…"},
		{"block that is too small", Block("a", Area{2, 3}), "a \n  \n  "},
		{"spread", Spread("left", "right", 12), "left   right"},
		{"spread without room", Spread("a long text", "right", 14), "a long text   "},
		{"beside", Beside("a\nb", "1\n2"), "a1\nb2"},
		{"over", Over("aaaa\nbbbb\ncccc", "xx\nyy", 1, 1), "aaaa\nbxxb\ncyyc"},
		{"wrap", strings.Join(Wrap("no pod is ready yet", 9), "|"), "no pod is|ready yet"},
		{"one", Count(1, "pod"), "1 pod"},
		{"policies", Count(2, "policy"), "2 policies"},
		{"millicores", CPU(250), "250m"},
		{"cores", CPU(1250), "1.25"},
		{"unknown cpu", CPU(-1), "–"},
		{"bytes", Bytes(1536 << 20), "1.5Gi"},
		{"many bytes", Bytes(1000 << 10), "1Mi"},
		{"seconds", Seconds(0.012), "12ms"},
		{"percent", Percent(1, 3), "33%"},
		{"percent of nothing", Percent(1, 0), "–"},
		{"spark", Spark([]float64{0, 4, -1, 8}, 8, 5), " ▁▅ █"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}

// numbers is a table of n rows with an optional and a wide column.
func numbers(n int) *Table {
	var t Table
	t.SetCols([]Column{{Title: "name", Min: 6, Max: 20}, {Title: "optional", Drop: 1}, {Title: "text", Min: 4, Grow: true}, {Title: "n", Right: true}})
	setNumbers(&t, n)
	return &t
}

func setNumbers(t *Table, n int) {
	t.SetRows(n, strconv.Itoa, func(i int) []Cell {
		return []Cell{Text(fmt.Sprintf("row number %d", i)), Dim("maybe"), {Draw: func(_ *Styles, w int) string { return strings.Repeat("=", w) }}, Text(strconv.Itoa(i * i))}
	})
}

func TestTable(t *testing.T) {
	files := goldentest.New(t)
	for _, a := range []Area{{60, 6}, {36, 6}, {24, 6}, {10, 3}} {
		t.Run(a.String(), func(t *testing.T) {
			table := numbers(20)
			table.Marked = map[string]bool{"17": true}
			table.Cursor = 18
			table.Resize(a, 0)
			got := table.View(styles(termenv.Ascii), true)
			lines := strings.Split(got, "\n")
			if len(lines) != a.H {
				t.Errorf("%d lines", len(lines))
			}
			for _, l := range lines {
				if w := Width(l); w != a.W {
					t.Errorf("%d cells: %q", w, l)
				}
			}
			files.Equal(t, got)
		})
	}
}

// The cursor stays on its row when rows come and go, and within the table when its row goes.
func TestTableKeepsCursor(t *testing.T) {
	table := numbers(5)
	table.Move(3)
	table.SetRows(4, func(i int) string { return strconv.Itoa(i + 1) }, nil)
	if got := table.Current(); got != "3" {
		t.Errorf("the first row went: the cursor is on %s", got)
	}
	table.SetRows(2, func(i int) string { return strconv.Itoa(i + 10) }, nil)
	if got := table.Current(); got != "11" {
		t.Errorf("its row went: the cursor is on %s", got)
	}
	table.SetRows(0, strconv.Itoa, nil)
	if got := table.Current(); got != "" {
		t.Errorf("all rows went: the cursor is on %s", got)
	}
}

func TestTableKeysAndMouse(t *testing.T) {
	table, k := numbers(20), NewMoveKeys()
	table.Resize(Area{40, 6}, 3) // five rows, the first at line 4
	for _, tt := range []struct {
		msg  tea.Msg
		want string
	}{
		{KeyPress("down"), "1"}, {KeyPress("G"), "19"}, {KeyPress("pgup"), "15"}, {KeyPress("g"), "0"}, {KeyPress("up"), "0"},
		{tea.MouseMsg{Button: tea.MouseButtonWheelDown}, "3"},
		{tea.MouseMsg{Button: tea.MouseButtonLeft, Action: tea.MouseActionPress, Y: 5}, "1"},
		{tea.MouseMsg{Button: tea.MouseButtonLeft, Action: tea.MouseActionPress, Y: 3}, "1"},
	} {
		if !table.Handle(tt.msg, k) {
			t.Errorf("%v was not handled", tt.msg)
		}
		if got := table.Current(); got != tt.want {
			t.Errorf("after %v: on row %s, want %s", tt.msg, got, tt.want)
		}
	}
	if table.Handle(KeyPress("x"), k) {
		t.Error("x was handled")
	}
}

func TestPickerRanks(t *testing.T) {
	var chosen string
	then := func(name string) tea.Cmd { return func() tea.Msg { chosen = name; return nil } }
	choices := []Choice{{Name: "replicasets", Also: "rs"}, {Name: "pods", Note: "core"}, {Name: "podtemplates"}, {Name: "horizontalpodautoscalers", Also: "hpa"}}
	for i := range choices {
		choices[i].Then = then(choices[i].Name)
	}
	for _, tt := range []struct{ typed, want string }{
		{"pods", "pods"}, {"podt", "podtemplates"}, {"rs", "replicasets"}, {"autosc", "horizontalpodautoscalers"}, {"rplst", "replicasets"}, {"core", "pods"},
	} {
		p := NewPicker("Resource", "", choices)
		for _, r := range tt.typed {
			p.Update(KeyPress(string(r)))
		}
		cmd, closed := p.Update(KeyPress("enter"))
		if !closed || cmd == nil {
			t.Fatalf("%s: enter chose nothing", tt.typed)
		}
		if cmd(); chosen != tt.want {
			t.Errorf("%s: chose %s, want %s", tt.typed, chosen, tt.want)
		}
	}
}

func TestPickerFreeText(t *testing.T) {
	p := NewPicker("Namespace", "", []Choice{{Name: "default"}})
	p.Update(KeyPress("z"))
	if _, closed := p.Update(KeyPress("enter")); closed {
		t.Error("a text that matches nothing closed the picker")
	}
	var got string
	p.Free = func(s string) tea.Cmd { got = s; return nil }
	if _, closed := p.Update(KeyPress("enter")); !closed || got != "z" {
		t.Errorf("closed %v with %q", closed, got)
	}
}

func TestPrompt(t *testing.T) {
	var got string
	p := NewPrompt("Scale", "replicas", "3", Number(0, 10), func(s string) tea.Cmd { got = s; return nil })
	p.Update(KeyPress("9"))
	if _, closed := p.Update(KeyPress("enter")); closed {
		t.Error("39 was accepted")
	}
	p.Resize(Area{60, 20})
	if view := p.View(styles(termenv.Ascii), Area{60, 20}); !strings.Contains(view, "enter a number from 0 to 10") {
		t.Errorf("the prompt does not say what is wrong:\n%s", view)
	}
	p.Update(KeyPress("backspace"))
	if _, closed := p.Update(KeyPress("enter")); !closed || got != "3" {
		t.Errorf("closed %v with %q", closed, got)
	}
}

// A change that destroys something needs more than enter.
func TestConfirm(t *testing.T) {
	yes := func() tea.Msg { return nil }
	for _, tt := range []struct {
		key            string
		grave          bool
		closed, agreed bool
	}{
		{"enter", false, true, true}, {"enter", true, false, false}, {"y", true, true, true}, {"n", false, true, false}, {"esc", true, true, false}, {"x", false, false, false},
	} {
		c := &Confirm{Title: "Delete", Grave: tt.grave, Then: yes}
		if cmd, closed := c.Update(KeyPress(tt.key)); closed != tt.closed || (cmd != nil) != tt.agreed {
			t.Errorf("%s with grave %v: closed %v, agreed %v", tt.key, tt.grave, closed, cmd != nil)
		}
	}
}

func TestSlider(t *testing.T) {
	var got int
	s := &Slider{Title: "Canary", Value: 1, Max: 2, Meaning: strconv.Itoa, Then: func(v int) tea.Cmd { got = v; return nil }}
	for _, k := range []string{"right", "right", "left"} {
		s.Update(KeyPress(k))
	}
	if _, closed := s.Update(KeyPress("enter")); !closed || got != 1 {
		t.Errorf("closed %v with %d", closed, got)
	}
}

// The window of a pager never leaves its text.
func TestPagerScrolls(t *testing.T) {
	var p Pager
	var lines []string
	for i := range 30 {
		lines = append(lines, fmt.Sprintf("line: %d", i))
	}
	p.SetLines(lines)
	p.Resize(10)
	for _, tt := range []struct{ key, want string }{
		{"down", "2–11 of 30"}, {"G", "21–30 of 30"}, {"down", "21–30 of 30"}, {"pgup", "11–20 of 30"}, {"g", "1–10 of 30"}, {"up", "1–10 of 30"}, {" ", "11–20 of 30"},
	} {
		p.Handle(KeyPress(tt.key), NewMoveKeys())
		p.Resize(10)
		if got := p.Position(); got != tt.want {
			t.Errorf("after %q: %s, want %s", tt.key, got, tt.want)
		}
	}
	if got, _, _ := strings.Cut(p.View(styles(termenv.Ascii)), "\n"); got != "line: 10" {
		t.Errorf("the first line is %q", got)
	}
}

func TestChart(t *testing.T) {
	files := goldentest.New(t)
	st := styles(termenv.Ascii)
	rising := make([]float64, 20)
	for i := range rising {
		rising[i] = float64(i)
	}
	for name, values := range map[string][]float64{"rising": rising, "with a gap": {3, 2, -1, 2, 3}, "one sample": {1}} {
		t.Run(name, func(t *testing.T) {
			c := Chart{Period: 15 * time.Second, Value: func(v float64) string { return fmt.Sprintf("%.0f", v) }, Age: time.Duration.String, Lines: []Line{{values, st.Accent}}}
			files.Equal(t, c.View(st, Area{40, 8})+"\n"+c.View(st, Area{15, 2}))
		})
	}
}

func TestWriteSVG(t *testing.T) {
	st := styles(termenv.TrueColor)
	var b strings.Builder
	if err := WriteSVG(&b, st.TabOn.Render("a < b")+" plain\n"+st.Banner.Render(" ! "), Area{12, 2}, false); err != nil {
		t.Fatal(err)
	}
	var texts []string
	d := xml.NewDecoder(strings.NewReader(b.String()))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v:\n%s", err, b.String())
		}
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) != "" {
			texts = append(texts, string(text))
		}
	}
	if diff := cmp.Diff([]string{"a < b", " plain", " ! "}, texts); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(b.String(), `fill="#79a2f7" font-weight="bold"`) {
		t.Errorf("the style is lost:\n%s", b.String())
	}
}
