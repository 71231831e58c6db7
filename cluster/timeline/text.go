package timeline

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// Widths in columns: a line has 80 in all.
const (
	nameWidth  = 27
	barWidth   = 19
	afterWidth = 18
)

// WriteText draws the chart for a terminal: no line is wider than 80 columns. A bar is dotted while its step waited for others.
func (c Chart) WriteText(w io.Writer) error {
	rows := c.rows()
	first, last := span(rows)
	scale := 0.0 // columns a second
	if last > first {
		scale = barWidth / (last - first)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", clip(c.Title, 80))
	end := fmt.Sprintf("%.1f s", last)
	fmt.Fprintf(&b, "%-*s0%*s  began  took   waited for\n", nameWidth, "", barWidth-1, end)
	group := ""
	for i, r := range rows {
		if i == 0 || r.group != group {
			group = r.group
			fmt.Fprintf(&b, "%s\n", clip(group, 80))
		}
		line := fmt.Sprintf("  %-*s%s %s%s", nameWidth-2, clip(r.Name, nameWidth-3), r.bar(first, scale), seconds(r.Began), seconds(r.Ended-r.Began))
		if after := r.waitedFor(); after != "" {
			line += " ← " + after
		}
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(line, " "))
	}
	fmt.Fprint(&b, "seconds; █ is the longest path: what would have to be shorter; · waits\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// bar draws a step. However short it is, it has a column.
func (r *row) bar(first, scale float64) string {
	column := func(t float64) int { return min(max(int(math.Floor((t-first)*scale)), 0), barWidth-1) }
	began, ended := column(r.Began), column(r.Ended)
	if ended > began && float64(ended) == (r.Ended-first)*scale {
		ended-- // it ends where that column begins
	}
	fill := "▒"
	if r.longer {
		fill = "█"
	}
	wait := " "
	if len(r.after) > 0 {
		wait = "·"
	}
	return strings.Repeat(wait, began) + strings.Repeat(fill, ended-began+1) + strings.Repeat(" ", barWidth-ended-1)
}

// waitedFor names what a step waited for last, and how many others before.
func (r *row) waitedFor() string {
	if len(r.after) == 0 {
		return ""
	}
	name, more := r.after[0].fullName(r.group), ""
	if n := len(r.after) - 1; n > 0 {
		more = fmt.Sprintf(" +%d", n)
	}
	return clip(name, afterWidth-len(more)) + more
}

// fullName is the name of a step for readers of a group.
func (r *row) fullName(group string) string {
	if r.group == group || r.unique {
		return r.Name
	}
	return r.group + " " + r.Name
}

// seconds has six columns.
func seconds(s float64) string {
	if s >= 100 || s <= -10 {
		return fmt.Sprintf("%6.0f", s)
	}
	return fmt.Sprintf("%6.2f", s)
}

// clip shortens a text to a number of columns.
func clip(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}
