package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// corpus collects files that are wrong by construction.
type corpus map[string]string // content → what was done to it

// TestBadFiles writes hundreds of wrong files out of the valid ones. Each is answered by lines that name the file, and by
// nothing of the program's insides.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("../../testdata/spec/valid-*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %d valid files: %v", len(files), err)
	}
	bad := corpus{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bad.texts(string(data))
		bad.trees(t, data)
	}
	if len(bad) < 200 {
		t.Errorf("the corpus has %d files, want 200", len(bad))
	}
	for content, what := range bad {
		checkAnswer(t, content, what)
	}
	t.Logf("%d files", len(bad))
}

func checkAnswer(t *testing.T, content, what string) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%s: panic: %v\n%s", what, r, content)
		}
	}()
	_, err := Parse("my.yaml", []byte(content), testMachine())
	var ps Problems
	if !errors.As(err, &ps) {
		t.Errorf("%s: %v, want Problems\n%.2000s", what, err, content)
		return
	}
	for _, p := range ps {
		line := p.String()
		odd := strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) })
		if !strings.HasPrefix(line, "my.yaml:") || odd || strings.Contains(line, "goroutine") || strings.Contains(line, "reflect") || strings.Contains(line, "Go ") {
			t.Errorf("%s: answered by %q", what, line)
		}
	}
}

// texts spoils the text of a valid file.
func (c corpus) texts(valid string) {
	c[""] = "empty"
	c["# nothing\n"] = "a comment"
	c[valid+"---\n"+valid] = "two documents"
	c[valid+"... \nmore"] = "text behind the end"
	c[strings.Repeat("# x\n", MaxSize/4)+valid] = "too large"
	c["["+valid] = "a bracket before"
	c[valid+"odd: "+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+"\n"] = "nested deeply"
	c[valid+"odd: "+strings.Repeat("{a: ", 100)+"1"+strings.Repeat("}", 100)+"\n"] = "nested mappings"
	c[valid+"odd: &a [*a, *a]\n"] = "an alias of itself"
	c[valid+"odd: *nowhere\n"] = "an alias of nothing"
	c[strings.Replace(valid, "Cluster", "!!python/object:os.system Cluster\x7f", 1)] = "a tag of another language"
	lines := strings.SplitAfter(valid, "\n")
	for i, line := range lines[:len(lines)-1] {
		before, after := strings.Join(lines[:i], ""), strings.Join(lines[i+1:], "")
		c[before+strings.TrimSuffix(line, "\n")+" : : {[\n"+after] = fmt.Sprintf("brackets behind line %d", i+1)
		for _, odd := range []string{"\t- x\n", "\x00\n", "\xff\xfe\n", "%YAML 9.9\n", "}\n", "\x1b[31m: {\n"} {
			c[before+line+odd+after] = fmt.Sprintf("%q behind line %d", odd, i+1)
		}
	}
}

// trees spoils every key and value of a valid file.
func (c corpus) trees(t *testing.T, valid []byte) {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(valid, &doc); err != nil {
		t.Fatal(err)
	}
	add := func(what string) {
		data, err := yaml.Marshal(&doc)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		c[string(data)] = what
	}
	var visit func(n *yaml.Node, rt reflect.Type, path string)
	visit = func(n *yaml.Node, rt reflect.Type, path string) {
		if rt.Kind() == reflect.Interface { // Kubernetes' own
			return
		}
		good := *n
		for _, text := range wrongValues(rt, path) {
			var odd yaml.Node
			if err := yaml.Unmarshal([]byte(text), &odd); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			*n = *odd.Content[0]
			add(path + " is " + text)
			*n = good
		}
		switch n.Kind {
		case yaml.SequenceNode:
			for i, e := range n.Content {
				visit(e, rt.Elem(), fmt.Sprintf("%s[%d]", path, i))
			}
		case yaml.MappingNode:
			c.keys(n, rt, path, add)
			for i := 0; i+1 < len(n.Content); i += 2 {
				var below reflect.Type
				if rt.Kind() == reflect.Map {
					below = rt.Elem()
				} else {
					below = fieldsOf(rt)[n.Content[i].Value]
				}
				visit(n.Content[i+1], below, join(path, n.Content[i].Value))
			}
		}
	}
	visit(doc.Content[0], specType(), "")
}

// keys spoils the keys of a mapping.
func (c corpus) keys(n *yaml.Node, rt reflect.Type, path string, add func(string)) {
	good := n.Content
	defer func() { n.Content = good }()
	value := &yaml.Node{Kind: yaml.ScalarNode, Value: "1"}
	odd := []*yaml.Node{
		{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{value}},
		{Kind: yaml.ScalarNode, Tag: "!!merge", Value: "<<"},
	}
	if rt.Kind() == reflect.Struct {
		for _, name := range []string{"", "odd", "ApiVersion", "名前", "a b", "\x1b[2J", strings.Repeat("x", 5000), "null"} {
			odd = append(odd, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name})
		}
	}
	for _, key := range odd {
		n.Content = append(good[:len(good):len(good)], key, &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle})
		add(fmt.Sprintf("key %.20q in %s", key.Value, path))
	}
	for i := 0; i+1 < len(good); i += 2 {
		n.Content = append(good[:len(good):len(good)], good[i], good[i+1])
		add(fmt.Sprintf("key %q twice in %s", good[i].Value, path))
	}
}

// wrongValues are values that a field of a type cannot have.
func wrongValues(rt reflect.Type, path string) []string {
	nested := []string{"{a: {b: [c]}}", "[[1], {a: b}]"}
	huge := []string{"99999999999999999999", "1e400", "-1", ".inf", ".nan", "1.5", "0x1FFFFFFFF"}
	switch rt.Kind() {
	case reflect.Struct:
		return append([]string{"odd", "7", "true", "2001-01-01", "!!binary aGk="}, nested...)
	case reflect.Map:
		return []string{"odd", "7", "true", "[[1], {a: b}]", `"\0"`}
	case reflect.Slice:
		return []string{"odd", "7", "true", "{a: b}", `"\e[31m"`}
	case reflect.Int:
		return append(append([]string{"odd", "true", "2001-01-01", `"7"`}, nested...), huge...)
	case reflect.Bool:
		return append([]string{"odd", "7", `"true"`, "1.5"}, nested...)
	case reflect.String:
		switch {
		case strings.HasSuffix(path, ".cpus"), strings.HasSuffix(path, ".memory"):
			return append(append([]string{"odd", "true", "1Q!", `"\u202e"`, "-0", "1e9999999999", "1e-9999999999"}, nested...), huge[:5]...)
		case numbersAllowed(path): // a flag's value is anything
			return nested
		case strings.Contains(path, "mounts"), strings.Contains(path, "mirrors"):
			return append([]string{"odd", "7", `"\0"`, `"\e]0;x\a"`}, nested...)
		case path == "audit.policy", path == "audit.webhook.ca": // several lines are what is in the file
			return append([]string{"7", "true", `"\e[31m"`, `" "`}, nested...)
		}
		return append([]string{"7", "true", "2001-01-01", `"a\nb"`, `"\e[31m"`, `" "`, strings.Repeat("x", 300) + "!"}, nested...)
	}
	return nil
}
