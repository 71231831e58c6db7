package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseJSON reads a single JSON value as a tree of YAML nodes, in its order and with the lines of the document that it is on; first is
// its first line, from 0. Numbers stay as they are written.
func parseJSON(source string, first int) (*yaml.Node, error) {
	r := &jsonReader{dec: json.NewDecoder(strings.NewReader(source)), source: source, line: first + 1}
	r.dec.UseNumber()
	n, err := r.value()
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, &Error{Line: r.line, Text: "more than one JSON value: separate them by ---"}
	}
	return n, nil
}

// jsonReader makes nodes of JSON tokens.
type jsonReader struct {
	dec    *json.Decoder
	source string
	line   int // of the token that was read last, from 1
	offset int // up to which lines have been counted
}

func (r *jsonReader) token() (json.Token, error) {
	t, err := r.dec.Token()
	if end := int(r.dec.InputOffset()); err == nil {
		r.line += strings.Count(r.source[r.offset:end], "\n")
		r.offset = end
	}
	return t, err
}

func (r *jsonReader) value() (*yaml.Node, error) {
	t, err := r.token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line, Column: 1}
	switch t := t.(type) {
	case json.Delim:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		if t == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for r.dec.More() {
			e, err := r.value()
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, e)
		}
		_, err := r.token()
		return n, err
	case string:
		*n = *str(t)
		n.Line, n.Column = r.line, 1
	case json.Number:
		n.Tag, n.Value = "!!int", t.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", boolean(t).Value
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}

// renderJSON writes a document as JSON, with the indentation that it had.
func (d *document) renderJSON() ([]string, error) {
	var compact bytes.Buffer
	if err := writeJSON(&compact, d.root); err != nil {
		return nil, err
	}
	head := d.lines[:d.head:d.head]
	if len(d.lines)-d.head < 3 {
		return append(head, compact.String()), nil
	}
	indent := "  "
	for _, l := range d.lines[d.head:] {
		if text := strings.TrimLeft(l, " \t"); len(text) < len(l) && text != "" {
			indent = l[:len(l)-len(text)]
			break
		}
	}
	var b bytes.Buffer
	if err := json.Indent(&b, compact.Bytes(), "", indent); err != nil {
		return nil, err
	}
	return append(head, strings.Split(b.String(), "\n")...), nil
}

func writeJSON(b *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		open, end := "{", "}"
		if n.Kind == yaml.SequenceNode {
			open, end = "[", "]"
		}
		b.WriteString(open)
		for i, e := range n.Content {
			switch {
			case i == 0:
			case n.Kind == yaml.MappingNode && i%2 == 1:
				b.WriteString(":")
			default:
				b.WriteString(",")
			}
			if err := writeJSON(b, e); err != nil {
				return err
			}
		}
		b.WriteString(end)
		return nil
	}
	if n.Tag == "!!str" {
		enc := json.NewEncoder(b)
		enc.SetEscapeHTML(false)
		err := enc.Encode(n.Value)
		b.Truncate(b.Len() - 1) // the line break that the encoder adds
		return err
	}
	b.WriteString(n.Value)
	return nil
}
