//go:build e2e

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// svgCommand is "svg FILE TEXT…": fails unless the file is XML whose root is an svg, and each text is that of an element.
func svgCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: svg FILE TEXT…")
	}
	root := ""
	var texts []string
	for d := xml.NewDecoder(strings.NewReader(ts.ReadFile(args[0]))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		ts.Check(err)
		switch t := token.(type) {
		case xml.StartElement:
			if root == "" {
				root = t.Name.Local
			}
		case xml.CharData:
			texts = append(texts, string(t))
		}
	}
	if root != "svg" {
		ts.Fatalf("%s has the root %q, want svg", args[0], root)
	}
	for _, want := range args[1:] {
		if !slices.Contains(texts, want) {
			ts.Fatalf("%s lacks the text %q", args[0], want)
		}
	}
}
