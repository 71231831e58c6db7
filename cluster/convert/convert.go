package convert

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Error is why data cannot be read as manifests. Line counts from 1; 0 stands for the whole file.
type Error struct {
	Line int
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Text
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Text)
}

// ErrNoManifest is the error for data without a single object that has apiVersion and kind.
var ErrNoManifest error = &Error{Text: "no Kubernetes manifest: nothing in it has apiVersion and kind"}

// Note is one change, or something that could not be converted.
type Note struct {
	Line   int    // of the source, from 1
	Object string // kind and name, such as "Deployment shop/web"
	Text   string
	Left   bool // not converted: Text says what to do
}

// Result is what became of the manifests of one file.
type Result struct {
	Data  []byte // the file's own bytes if nothing changed
	Notes []Note // by line
	// Counts of objects: all, those that were changed, and those that need a person.
	Objects, Changed, Left int
}

// Convert turns the manifests of a file, YAML or JSON, into what an API server accepts today. It does no I/O, and returns the same
// for the same data. The error is an [Error] if the data is not a file of manifests.
func Convert(data []byte) (Result, error) {
	if err := checkText(data); err != nil {
		return Result{}, err
	}
	body := strings.TrimPrefix(string(data), "\ufeff")
	crlf := strings.Contains(body, "\r\n")
	lines := strings.Split(strings.ReplaceAll(body, "\r\n", "\n"), "\n")
	c := &converter{rules: rules()}
	var out []string
	for first := 0; first < len(lines); {
		n := 0
		for first+n < len(lines) && !separator(lines[first+n]) {
			n++
		}
		converted, err := c.document(first, lines[first:first+n])
		if err != nil {
			return Result{}, err
		}
		out = append(out, converted...)
		if first += n; first < len(lines) {
			out = append(out, lines[first])
			first++
			if first == len(lines) {
				break
			}
		}
	}
	if c.result.Objects == 0 {
		return Result{}, ErrNoManifest
	}
	c.result.Data = data
	if c.dirty {
		text := strings.Join(out, "\n")
		if crlf {
			text = strings.ReplaceAll(text, "\n", "\r\n")
		}
		c.result.Data = []byte(text)
	}
	slices.SortStableFunc(c.result.Notes, func(a, b Note) int { return a.Line - b.Line })
	return c.result, nil
}

// checkText returns an error for data that is no text, or too much.
func checkText(data []byte) error {
	switch {
	case len(data) > MaxSize:
		return &Error{Text: fmt.Sprintf("larger than %d MB: is it a manifest?", MaxSize>>20)}
	case len(bytes.TrimSpace(data)) == 0:
		return &Error{Text: "empty: it needs at least one Kubernetes manifest"}
	case bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data):
		return &Error{Text: "not a text file: it needs Kubernetes manifests as YAML or JSON"}
	}
	return nil
}

// separator reports whether a line is one between YAML documents.
func separator(line string) bool {
	rest, ok := strings.CutPrefix(line, "---")
	rest = strings.TrimSpace(rest)
	return ok && (rest == "" || rest[0] == '#' && line[3] != '#')
}

// converter collects what becomes of the documents of one file.
type converter struct {
	rules  map[string]rule
	result Result
	dirty  bool
	out    map[*yaml.Node]string // list elements of the current document that are not converted, and why
	extra  []*yaml.Node          // objects that were made beside those of the current document
	// carried are keys of the current document whose comments another field has now.
	carried map[*yaml.Node]bool
}

// document returns the lines of a document after its conversion.
func (c *converter) document(first int, lines []string) ([]string, error) {
	d, err := parse(first, lines)
	if err != nil || d.root == nil {
		return lines, err
	}
	c.out, c.extra, c.carried = map[*yaml.Node]string{}, nil, map[*yaml.Node]bool{}
	o := &object{node: d.root, first: first, c: c, twice: d.twice}
	if o.read(); o.kind == "" || o.api == "" {
		return lines, nil
	}
	reason := c.object(o)
	if reason != "" && !d.json {
		c.dirty = true
		return commentedOut(reason, lines), nil
	}
	if reason != "" || !d.changed() && len(c.out) == 0 && len(c.extra) == 0 {
		return lines, nil
	}
	c.dirty = true
	converted, err := d.render(c.out, c.carried)
	if err != nil {
		return nil, err
	}
	for _, e := range c.extra {
		more, err := (&document{root: e, json: d.json, lines: lines}).renderNew()
		if err != nil {
			return nil, err
		}
		for len(converted) > 0 && strings.TrimSpace(converted[len(converted)-1]) == "" {
			converted = converted[:len(converted)-1]
		}
		converted = append(append(converted, "---"), more...)
	}
	if n := len(lines); len(converted) > 0 && lines[n-1] == "" && converted[len(converted)-1] != "" {
		converted = append(converted, "") // the line break at the end of the file
	}
	return converted, nil
}

// renderNew returns the lines of a document that was not read.
func (d *document) renderNew() ([]string, error) {
	if d.json {
		return d.renderJSON()
	}
	return encode(d.root, true)
}

// commentedOut turns a document into a comment.
func commentedOut(reason string, lines []string) []string {
	n := len(lines)
	for n > 0 && strings.TrimSpace(lines[n-1]) == "" {
		n--
	}
	return append(commented(reason, lines[:n], 0), lines[n:]...)
}

// object converts one object and counts it. It returns why it cannot be converted; empty if it was, or needs no conversion.
func (c *converter) object(o *object) string {
	before := len(c.result.Notes)
	for _, key := range o.twice {
		o.changed(key, "the first %s is removed: it stands twice, the last one counts, and API servers of today refuse that", key.Value)
	}
	if o.list() {
		return ""
	}
	c.result.Objects++
	reason := o.convert()
	if reason != "" {
		o.left(o.node, "%s", "not converted: "+reason)
	}
	left := slices.ContainsFunc(c.result.Notes[before:], func(n Note) bool { return n.Left })
	if left {
		c.result.Left++
	}
	if slices.ContainsFunc(c.result.Notes[before:], func(n Note) bool { return !n.Left }) {
		c.result.Changed++
	}
	return reason
}
