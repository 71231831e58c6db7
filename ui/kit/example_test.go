package kit_test

import (
	"fmt"
	"io"

	"github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"

	"github.com/klkube/kl/ui/kit"
)

// A table is given rows, then an area, and is then drawn as often as needed.
func Example() {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(termenv.Ascii)
	st := kit.NewStyles(r)

	pods := []string{"web-0", "web-1", "web-2"}
	var t kit.Table
	t.SetCols([]kit.Column{{Title: "name", Grow: true}, {Title: "cpu", Right: true}})
	t.SetRows(len(pods), func(i int) string { return pods[i] }, func(i int) []kit.Cell {
		return []kit.Cell{kit.Text(pods[i]), kit.Dim(kit.CPU(int64(250 * i)))}
	})
	t.Handle(tea.KeyMsg{Type: tea.KeyDown}, kit.NewMoveKeys())
	t.Resize(kit.Area{W: 24, H: 4}, 0)
	fmt.Println(t.View(st, true))
	// Output:
	//   NAME               CPU
	//   web-0               0m
	// ▌ web-1             250m
	//   web-2             500m
}

func ExampleClean() {
	fmt.Printf("%q\n", kit.Clean("red \x1b[31malert\x1b[0m\a\u202eexe.txt"))
	// Output: "red alertexe.txt"
}
