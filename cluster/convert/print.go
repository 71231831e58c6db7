package convert

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// printer writes a document that has been changed. Whatever has not been changed is copied from the source line by line, so that
// comments, blank lines, order and quoting stay; the rest is written as YAML, with the indentation of its surroundings.
type printer struct {
	*document
	now  map[*yaml.Node]uint64 // sums of the tree as it is now
	used map[*yaml.Node]bool   // nodes of the tree as it is now
	// carried are keys whose comments other fields have now.
	carried map[*yaml.Node]bool
	out     map[*yaml.Node]string // list elements to write as comments, and why
}

// render returns the lines of a document as it is now.
func (d *document) render(out map[*yaml.Node]string, carried map[*yaml.Node]bool) ([]string, error) {
	if d.json {
		return d.renderJSON()
	}
	p := &printer{document: d, now: map[*yaml.Node]uint64{}, used: map[*yaml.Node]bool{}, out: out, carried: carried}
	d.sum(d.root, p.now)
	p.mark(d.root)
	if d.root.Style&yaml.FlowStyle == 0 && len(d.spans) > 0 {
		lines := append(p.mapping(d.root, 0), d.lines[d.tail:]...)
		if p.means(lines, without(d.root, out)) {
			return lines, nil
		}
	}
	// A layout that the printer does not know. Comments stay where the YAML library puts them.
	text, err := encode(d.root, d.compact)
	if err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return text, nil
}

func (p *printer) mark(n *yaml.Node) {
	p.used[n] = true
	for _, e := range n.Content {
		p.mark(e)
	}
}

// means reports whether lines, read again, are a tree.
func (p *printer) means(lines []string, tree *yaml.Node) bool {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(strings.Join(lines, "\n")+"\n"), &doc); err != nil || len(doc.Content) != 1 {
		return false
	}
	return equal(doc.Content[0], tree)
}

// without returns a tree without some list elements.
func without(n *yaml.Node, out map[*yaml.Node]string) *yaml.Node {
	if len(out) == 0 {
		return n
	}
	c := *n
	c.Content = nil
	for _, e := range n.Content {
		if _, left := out[e]; !left {
			c.Content = append(c.Content, without(e, out))
		}
	}
	if len(c.Content) == 0 && len(n.Content) > 0 {
		c.Style |= yaml.FlowStyle
	}
	return &c
}

// mapping writes the fields of a mapping from a column on. Comments of fields that are gone stay.
func (p *printer) mapping(m *yaml.Node, col int) []string {
	var lines []string
	rest := p.order[m]
	for i := 0; i+1 < len(m.Content); i += 2 {
		key := m.Content[i]
		if at := slices.Index(rest, key); at >= 0 {
			for _, gone := range rest[:at] {
				lines = append(lines, p.remains(gone, col)...)
			}
			rest = rest[at+1:]
		}
		lines = append(lines, p.field(key, m.Content[i+1], col)...)
	}
	for _, gone := range rest {
		lines = append(lines, p.remains(gone, col)...)
	}
	return lines
}

// remains returns the comments above a field or list element that is no longer in the tree, and above all that was below it.
func (p *printer) remains(key *yaml.Node, col int) []string {
	s, known := p.spans[key]
	if !known || p.used[key] {
		return nil
	}
	var lines []string
	if !p.carried[key] {
		for _, l := range p.lines[s.lead:s.at] {
			if l = strings.TrimSpace(l); l != "" {
				lines = append(lines, strings.Repeat(" ", col)+l)
			}
		}
	}
	below := p.order[s.value]
	if s.value.Kind == yaml.SequenceNode {
		below = s.value.Content
	}
	for _, k := range below {
		lines = append(lines, p.remains(k, col)...)
	}
	return lines
}

// shift returns lines of the source with another indentation.
func (p *printer) shift(from, to, by int) []string {
	lines := make([]string, 0, to-from)
	for _, l := range p.lines[from:to] {
		switch {
		case strings.TrimSpace(l) == "":
		case by >= 0:
			l = strings.Repeat(" ", by) + l
		default:
			for i := by; i < 0 && strings.HasPrefix(l, " "); i++ {
				l = l[1:]
			}
		}
		lines = append(lines, l)
	}
	return lines
}

// same reports whether a field or list element is what it was when it was read.
func (p *printer) same(s span, nodes ...*yaml.Node) bool {
	return s.value == nodes[len(nodes)-1] && !slices.ContainsFunc(nodes, func(n *yaml.Node) bool { return p.now[n] != p.sums[n] })
}

// original returns the lines of a field or list element as they were, from column col on.
func (p *printer) original(s span, col int) []string {
	lines := p.shift(s.lead, s.end, col-s.col)
	lines[s.at-s.lead] = strings.Repeat(" ", col) + p.lines[s.at][s.col:] // without the dash of a list
	return lines
}

func (p *printer) field(key, value *yaml.Node, col int) []string {
	s, known := p.spans[key]
	if known && p.same(s, key, value) && !p.holds(value) {
		return p.original(s, col)
	}
	var lines []string
	if known {
		lines = p.shift(s.lead, s.at, col-s.col)
	}
	indent := strings.Repeat(" ", col)
	switch {
	case block(value) && !p.empty(value):
		if !known {
			lines = append(lines, indented(key.HeadComment, indent)...)
		}
		lines = append(lines, indent+scalar(key)+":"+p.comment(s, known, key))
		return append(lines, p.below(s, known, key, value, col)...)
	case known && s.end == s.at+1 && s.value.Kind == yaml.ScalarNode && value.Kind == yaml.ScalarNode && s.value.Line-1 == s.at:
		if text := scalar(value); !strings.Contains(text, "\n") {
			return append(lines, indent+scalar(key)+": "+text+trailing(p.lines[s.at], s.value.LineComment))
		}
	}
	written := mapping()
	k := copyOf(key, !known)
	written.Content = append(written.Content, k, copyOf(value, true))
	var below []string
	if block(value) {
		written.Content[1] = &yaml.Node{Kind: value.Kind, Tag: value.Tag, Style: yaml.FlowStyle}
		below = p.below(s, known, key, value, col) // comments alone
	}
	text, err := encode(written, p.compact)
	if err != nil {
		return append(lines, err.Error()) // the result is read again, and this is not what it should be
	}
	return slices.Concat(lines, indented(strings.Join(text, "\n"), indent), below)
}

// holds reports whether a list element below n is written as a comment.
func (p *printer) holds(n *yaml.Node) bool {
	return len(p.out) > 0 && slices.ContainsFunc(n.Content, func(e *yaml.Node) bool { return p.out[e] != "" || p.holds(e) })
}

// empty reports whether all elements of a list are written as comments, which is an empty list.
func (p *printer) empty(n *yaml.Node) bool {
	return !slices.ContainsFunc(n.Content, func(e *yaml.Node) bool { return p.out[e] == "" })
}

// comment returns what stands after a key whose value is on the lines below.
func (p *printer) comment(s span, known bool, key *yaml.Node) string {
	if !known || s.value.Line-1 == s.at || !block(s.value) {
		return ""
	}
	line := p.lines[s.at]
	if i := strings.Index(line[min(len(line), s.col+len(key.Value)):], " #"); i >= 0 {
		return strings.TrimRight(line[min(len(line), s.col+len(key.Value))+i:], " ")
	}
	return ""
}

// below writes the value of a field on lines of its own.
func (p *printer) below(s span, known bool, key, value *yaml.Node, col int) []string {
	step := p.step
	if value.Kind == yaml.SequenceNode && p.compact {
		step = 0
	}
	if known && s.value == value && value.Line > key.Line {
		step = value.Column - key.Column
	}
	if value.Kind == yaml.SequenceNode {
		return p.list(value, col+step)
	}
	return p.mapping(value, col+step)
}

// list writes the elements of a list, with their dashes in column col.
func (p *printer) list(l *yaml.Node, col int) []string {
	var lines []string
	for _, e := range l.Content {
		s, known := p.spans[e]
		reason, out := p.out[e]
		switch {
		case out && known:
			lines = append(lines, commented(reason, p.original(s, col), col)...)
		case known && p.same(s, e) && !p.holds(e):
			lines = append(lines, p.original(s, col)...)
		case block(e):
			gap := 2
			if known {
				lines = append(lines, p.shift(s.lead, s.at, col-s.col)...)
				gap = e.Column - 1 - s.col
			}
			var element []string
			if e.Kind == yaml.MappingNode {
				element = p.mapping(e, col+gap)
			} else {
				element = p.list(e, col+gap)
			}
			lines = append(lines, dashed(element, col)...)
		default:
			if known {
				lines = append(lines, p.shift(s.lead, s.at, col-s.col)...)
			}
			text, err := encode(sequence(copyOf(e, true)), true)
			if err != nil {
				text = []string{err.Error()}
			}
			lines = append(lines, indented(strings.Join(text, "\n"), strings.Repeat(" ", col))...)
		}
	}
	return lines
}

// dashed puts the dash of a list element before the first of its lines that is no comment.
func dashed(lines []string, col int) []string {
	for i, l := range lines {
		if text := strings.TrimSpace(l); text != "" && text[0] != '#' {
			lines[i] = l[:col] + "-" + l[col+1:]
			break
		}
	}
	return lines
}

// commented turns lines into a comment in column col.
func commented(reason string, lines []string, col int) []string {
	indent := strings.Repeat(" ", col)
	all := []string{indent + "# Not converted: " + reason}
	for _, l := range lines {
		all = append(all, strings.TrimRight(indent+"# "+l[min(len(l), col):], " "))
	}
	return all
}

// trailing returns a comment at the end of a line with the space before it.
func trailing(line, comment string) string {
	i := strings.LastIndex(line, comment)
	if comment == "" || i < 0 {
		return ""
	}
	return line[len(strings.TrimRight(line[:i], " \t")):]
}

func indented(text, indent string) []string {
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if l != "" {
			lines[i] = indent + l
		}
	}
	return lines
}

// scalar writes a single value.
func scalar(n *yaml.Node) string {
	text, err := encode(copyOf(n, false), true)
	if err != nil {
		return "!" // not what it should be, see field
	}
	return strings.Join(text, "\n")
}

// encode writes a tree as YAML and returns its lines.
func encode(n *yaml.Node, compact bool) ([]string, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if compact {
		enc.CompactSeqIndent()
	}
	if err := enc.Encode(n); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n"), nil
}
