package convert

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of what is read. Aliases may make a small file large, so nodes are counted after they are expanded.
const (
	MaxSize  = 16 << 20 // of a file, in bytes
	maxNodes = 1 << 20  // of a document
	maxDepth = 200
)

// document is one document of a YAML stream: its lines, and where in them each field and list element is.
type document struct {
	first int      // line of the file that the document begins on, from 0
	lines []string // without line breaks
	root  *yaml.Node
	json  bool
	head  int // lines of comments before the object

	spans   map[*yaml.Node]span         // of fields, by key, and of list elements
	order   map[*yaml.Node][]*yaml.Node // keys of a mapping, as they were read
	sums    map[*yaml.Node]uint64       // of what each node meant when it was read
	twice   []*yaml.Node                // keys that were removed because the same name follows once more
	meant   uint64                      // sum of root as it was read, with aliases expanded
	seed    maphash.Seed
	tail    int  // where the comments and blank lines after the last field begin
	compact bool // lists begin in the column of their key
	step    int  // indentation of mappings
	stepped bool // step was seen in the source
}

// span is where a field or a list element was read: lines from lead, which begins with comments and blank lines, up to end. Line at
// has the key, or the dash, in column col. All count from 0.
type span struct {
	lead, at, end, col int
	value              *yaml.Node
}

// parse reads one document. It returns nil without a root if there is nothing but comments.
func parse(first int, lines []string) (*document, error) {
	d := &document{first: first, lines: lines, seed: maphash.MakeSeed(), compact: true, step: 2,
		spans: map[*yaml.Node]span{}, order: map[*yaml.Node][]*yaml.Node{}, sums: map[*yaml.Node]uint64{}}
	source := strings.Join(lines, "\n")
	for d.head < len(lines)-1 && (strings.TrimSpace(lines[d.head]) == "" || strings.HasPrefix(lines[d.head], "#")) {
		d.head++
	}
	if len(lines) > 0 && strings.HasPrefix(strings.TrimSpace(lines[d.head]), "{") {
		if root, err := parseJSON(strings.Join(lines[d.head:], "\n"), d.head); err == nil {
			d.root, d.json = root, true
			d.meant = d.sum(root, d.sums)
			return d, d.check(root, maxDepth)
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(source))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return d, nil
	case err != nil:
		return nil, syntaxError(first, source, err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &Error{Line: first + max(more.Line, 1), Text: "a document that does not begin with ---"}
	}
	d.root = doc.Content[0]
	d.sum(d.root, d.sums)
	if d.root.Kind == yaml.MappingNode && d.root.Style&yaml.FlowStyle == 0 {
		d.tail = d.before(0, len(lines), 0)
		d.locate(d.root, 0, d.tail)
	}
	left := maxNodes
	root, err := d.expand(d.root, maxDepth, &left)
	if err != nil {
		return nil, err
	}
	d.root = root
	d.meant = d.sum(root, map[*yaml.Node]uint64{})
	return d, d.check(root, maxDepth)
}

// syntaxError takes the line out of an error of the YAML parser: "yaml: line 3: did not find …".
func syntaxError(first int, source string, err error) error {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 0
	if _, e := fmt.Sscanf(text, "line %d:", &line); e == nil {
		_, text, _ = strings.Cut(text, ": ")
	}
	text, _, _ = strings.Cut(text, "\n")
	if strings.Contains(source, "{{") {
		text += ": a template has to be filled in first"
	}
	return &Error{Line: first + max(line, 1), Text: "not valid YAML: " + text}
}

// expand replaces aliases and merge keys by copies of what they stand for.
func (d *document) expand(n *yaml.Node, depth int, left *int) (*yaml.Node, error) {
	if *left--; *left < 0 || depth == 0 {
		return nil, &Error{Line: d.first + n.Line, Text: "too large once its aliases are expanded, or nested too deeply: is it a manifest?"}
	}
	if n.Kind == yaml.AliasNode {
		return d.expand(copyOf(n.Alias, false), depth, left)
	}
	var content []*yaml.Node
	for i := 0; i < len(n.Content); i++ {
		e, err := d.expand(n.Content[i], depth-1, left)
		if err != nil {
			return nil, err
		}
		if n.Kind == yaml.MappingNode && i%2 == 0 && e.Tag == "!!merge" {
			i++
			from, err := d.expand(n.Content[i], depth-1, left)
			if err != nil {
				return nil, err
			}
			content = append(content, merged(n, content, from)...)
			continue
		}
		content = append(content, e)
	}
	n.Content = content
	return n, nil
}

// merged returns the fields that a merge key adds to a mapping: those that it does not have.
func merged(into *yaml.Node, sofar []*yaml.Node, from *yaml.Node) []*yaml.Node {
	var added []*yaml.Node
	sources := []*yaml.Node{from}
	if from.Kind == yaml.SequenceNode {
		sources = from.Content
	}
	for _, s := range sources {
		for i := 0; i+1 < len(s.Content); i += 2 {
			name := s.Content[i].Value
			if k, _ := find(into, name); k != nil {
				continue
			}
			if k, _ := find(&yaml.Node{Kind: yaml.MappingNode, Content: append(sofar[:len(sofar):len(sofar)], added...)}, name); k == nil {
				added = append(added, copyOf(s.Content[i], false), copyOf(s.Content[i+1], false))
			}
		}
	}
	return added
}

// check returns an error for what no manifest may have, such as keys that are no names. Of fields of one name the last one stays: it is the
// one that counted, but API servers of today refuse both.
func (d *document) check(n *yaml.Node, depth int) error {
	if depth == 0 {
		return &Error{Line: d.first + n.Line, Text: "nested too deeply: is it a manifest?"}
	}
	if n.Kind == yaml.MappingNode {
		if err := d.names(n); err != nil {
			return err
		}
	}
	for _, e := range n.Content {
		if err := d.check(e, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// names is check for the keys of a mapping.
func (d *document) names(m *yaml.Node) error {
	last := map[string]int{}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Kind != yaml.ScalarNode {
			return &Error{Line: d.first + m.Content[i].Line, Text: "not a manifest: a key that is no name, as in a template that has to be filled in first"}
		}
		last[m.Content[i].Value] = i
	}
	if len(last)*2 == len(m.Content) {
		return nil
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(m.Content); i += 2 {
		if last[m.Content[i].Value] != i {
			d.twice = append(d.twice, m.Content[i])
			continue
		}
		kept = append(kept, m.Content[i], m.Content[i+1])
	}
	m.Content = kept
	return nil
}

// changed reports whether the tree is another one than the one that was read.
func (d *document) changed() bool { return d.sum(d.root, map[*yaml.Node]uint64{}) != d.meant }

// sum fills sums with a number for each node of a tree that changes with whatever the tree means or how it is written.
func (d *document) sum(n *yaml.Node, sums map[*yaml.Node]uint64) uint64 {
	if s, ok := sums[n]; ok {
		return s
	}
	var h maphash.Hash
	h.SetSeed(d.seed)
	fmt.Fprintf(&h, "%d %d %s %q %s %d", n.Kind, n.Style, n.Tag, n.Value, n.Anchor, len(n.Content))
	for _, e := range n.Content {
		fmt.Fprintf(&h, " %x", d.sum(e, sums))
	}
	sums[n] = h.Sum64() | 1 // never 0, which stands for a node that was not read
	return sums[n]
}

// locate notes where the fields of a block mapping, or the elements of a block list, are within lines from start up to end.
func (d *document) locate(n *yaml.Node, start, end int) {
	width := 2 // of a key and its value
	if n.Kind == yaml.SequenceNode {
		width = 1
	}
	col := n.Column - 1
	var spans []span
	for i := 0; i+width-1 < len(n.Content); i += width {
		s := span{lead: start, at: n.Content[i].Line - 1, col: col, value: n.Content[i+width-1]}
		if width == 1 {
			s.at = d.dash(s.at, col)
		}
		if len(spans) > 0 {
			last := &spans[len(spans)-1]
			s.lead = d.before(last.at+1, s.at, col)
			last.end = s.lead
		}
		s.end = end
		spans = append(spans, s)
	}
	for i, s := range spans {
		key := n.Content[i*width]
		d.spans[key] = s
		if width == 2 {
			d.order[n] = append(d.order[n], key)
		}
		if !block(s.value) {
			continue
		}
		below := s.value.Line - 1
		if width == 2 && below > s.at && s.value.Kind == yaml.SequenceNode {
			d.compact = s.value.Column == key.Column
		}
		if width == 2 && below > s.at && s.value.Kind == yaml.MappingNode && !d.stepped {
			d.step, d.stepped = s.value.Column-key.Column, true
		}
		if below > s.at {
			below = s.at + 1
		}
		d.locate(s.value, below, s.end)
	}
}

// dash returns the line of a list element's dash, which is at or above the line of its content.
func (d *document) dash(line, col int) int {
	for at := line; at >= 0; at-- {
		if strings.HasPrefix(d.after(at, col), "-") && strings.Trim(d.lines[at][:col], " -") == "" {
			return at
		}
	}
	return line
}

// after returns a line from a column on.
func (d *document) after(line, col int) string {
	if col >= len(d.lines[line]) {
		return ""
	}
	return d.lines[line][col:]
}

// before returns the first of the comments and blank lines that stand right before a line, but not above line first. Comments that
// are indented deeper than col belong to what is above them.
func (d *document) before(first, line, col int) int {
	for ; line > first; line-- {
		text := strings.TrimLeft(d.lines[line-1], " \t")
		if text != "" && (text[0] != '#' || len(d.lines[line-1])-len(text) > col) {
			break
		}
	}
	return line
}

// block reports whether a node is a mapping or list that has lines of its own.
func block(n *yaml.Node) bool {
	return (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && len(n.Content) > 0 && n.Style&yaml.FlowStyle == 0
}
