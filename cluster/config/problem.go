package config

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one thing wrong with a file, at the position of the offending key or value (both from 1; 0 is unknown).
type Problem struct {
	File    string
	Line    int
	Column  int
	Path    string // nodes[0].memory; empty for the document
	Message string
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is the error of [Parse]: all that is wrong, in the order of the file.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Locate returns the problems of a Spec that Parse read from data, such as those of Plan, with their places in the file. What
// the file does not say is placed where it would be said.
func (ps Problems) Locate(file string, data []byte) Problems {
	doc, err := document(file, data)
	if err != nil {
		return ps
	}
	w := newWalker(file)
	w.walk(doc, specType(), "")
	located := make(Problems, len(ps))
	for i, p := range ps {
		p.File = file
		for path := p.Path; ; path = path[:max(0, strings.LastIndexAny(path, ".["))] {
			if n := w.positions[path]; n != nil {
				p.Line, p.Column = n.Line, n.Column
				break
			}
		}
		located[i] = p
	}
	return located.sorted()
}

func (ps Problems) sorted() Problems {
	sort.SliceStable(ps, func(i, j int) bool {
		if ps[i].Line != ps[j].Line {
			return ps[i].Line < ps[j].Line
		}
		return ps[i].Column < ps[j].Column
	})
	return ps
}
