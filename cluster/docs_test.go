package cluster_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The documents for people who work on kl name files, functions, tests, make targets and variables. These tests look each
// of them up, so that a document cannot go on about what was renamed or removed.

const (
	architecture = "ARCHITECTURE.md"
	contributing = "CONTRIBUTING.md"
	security     = "SECURITY.md"
	readme       = "README.md"
	changelog    = "CHANGELOG.md"
)

func document(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// code returns what a Markdown document sets as code: spans in backticks, and the words of fenced blocks.
func code(text string) (spans, words []string) {
	for i, part := range strings.Split(text, "```") {
		if i%2 == 1 {
			words = append(words, strings.Fields(part)...)
			continue
		}
		for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(part, -1) {
			spans = append(spans, m[1])
		}
	}
	return spans, words
}

// inTree reports whether a span or word is written as a path of the source tree.
func inTree(s string) bool {
	first, _, deeper := strings.Cut(s, "/")
	if strings.ContainsAny(s, "<>… $=:") {
		return false
	}
	roots := []string{"cluster", "cmd", "embedded", "ui", "testdata", ".ci", ".github", ".devcontainer"}
	return slices.Contains(roots, first) || !deeper && regexp.MustCompile(`^(go\.mod|go\.sum|Makefile|LICENSE|[A-Z_]+\.md|\.[a-z]+(\.yml)?)$`).MatchString(s)
}

// missing reports whether nothing in the tree is called path, which may be a pattern and may end in "/...".
func missing(path string) bool {
	path = strings.TrimSuffix(path, "/...")
	found, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(path)))
	return err != nil || len(found) == 0
}

// testName is a test as documents cite it: embedded/tunnel.TestRefusedHello.
var testName = regexp.MustCompile(`^([\w/-]+)\.((?:Test|Fuzz)\w+)$`)

func TestPathsInDocuments(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
	for _, name := range []string{architecture, contributing, security, readme} {
		text := document(t, name)
		spans, words := code(text)
		for _, w := range words { // in commands, packages begin with ./
			if rest, ok := strings.CutPrefix(w, "./"); ok {
				spans = append(spans, rest)
			}
		}
		paths := 0
		for _, s := range spans {
			s = strings.TrimPrefix(s, "./")
			switch m := testName.FindStringSubmatch(s); {
			case m != nil && inTree(m[1]):
				if !slices.Contains(testsOf(t, m[1]), m[2]) {
					t.Errorf("%s names the test %s, which is not in %s", name, m[2], m[1])
				}
			case inTree(s):
				paths++
				if missing(s) {
					t.Errorf("%s names %s, which does not exist", name, s)
				}
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(m[1], "://") && missing(m[1]) {
				t.Errorf("%s links to %s, which does not exist", name, m[1])
			}
		}
		if paths == 0 && name != readme {
			t.Errorf("%s names no path at all: does the pattern still fit how documents are written?", name)
		}
	}
}

// testsOf lists what the test files of a package directory declare, those behind build tags included.
func testsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, declared(t, f)...)
	}
	return names
}

// declared lists the names that a Go file declares at its top level, methods included.
func declared(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

// reference is a file and the names to look for in it, as documents write it: `file` (`A`, `B`).
var reference = regexp.MustCompile("`([\\w./-]+\\.go)`\\s+\\(((?:`\\w+`(?:,\\s+)?)+)\\)")

func TestNamesInDocuments(t *testing.T) {
	found := 0
	for _, name := range []string{architecture, contributing, security} {
		for _, m := range reference.FindAllStringSubmatch(document(t, name), -1) {
			file := filepath.Join("..", m[1])
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
				continue // TestPathsInDocuments reports it
			}
			names := declared(t, file)
			for _, n := range regexp.MustCompile(`\w+`).FindAllString(m[2], -1) {
				found++
				if !slices.Contains(names, n) {
					t.Errorf("%s says that %s declares %s, which it does not", name, m[1], n)
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("found %d names only: does the pattern still fit how documents are written?", found)
	}
}

// TestQuestionsOfANewcomer checks that four things are found in one look: one of the files that the answer names holds
// what only the right one does, and a name to look for there is given.
func TestQuestionsOfANewcomer(t *testing.T) {
	rows := tableOf(t, document(t, architecture), "## Where is …?")
	for question, evidence := range map[string]string{
		"where the text of a denial is made": `and no rule allows`,
		"where a node's address is chosen":   `func NodeAddress\(`,
		"what starts after etcd":             `Needs:.*[Ee]tcd`,
		"which file a new screen goes into":  `m\.main = \[\]screen\{`,
	} {
		i := slices.IndexFunc(rows, func(row []string) bool { return row[0] == question })
		if i < 0 {
			t.Errorf("%s has no row %q", architecture, question)
			continue
		}
		answer := reference.FindAllStringSubmatch(rows[i][1], -1)
		if !slices.ContainsFunc(answer, func(m []string) bool {
			return !missing(m[1]) && regexp.MustCompile(evidence).MatchString(document(t, m[1]))
		}) {
			t.Errorf("%s answers %q with %q, and none of the files with names to look for has %s", architecture, question, rows[i][1], evidence)
		}
	}
}

// tableOf returns the cells of the first table after a heading, without its head.
func tableOf(t *testing.T, text, heading string) (rows [][]string) {
	t.Helper()
	_, after, ok := strings.Cut(text, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("there is no heading %q", heading)
	}
	for line := range strings.Lines(after) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "|"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		case len(rows) > 0 || strings.HasPrefix(line, "## "):
			if len(rows) < 3 {
				t.Fatalf("the table below %q has no rows", heading)
			}
			return rows[2:]
		}
	}
	return rows[min(2, len(rows)):]
}

// TestPackageTable checks that ARCHITECTURE.md lists every package once, and that none imports what its row does not allow.
func TestPackageTable(t *testing.T) {
	allowed := map[string][]string{}
	for _, row := range tableOf(t, document(t, architecture), "## Packages") {
		of, _ := code(row[0])
		imports, _ := code(row[2])
		for _, p := range of {
			if _, ok := allowed[p]; ok {
				t.Errorf("%s lists package %s twice", architecture, p)
			}
			allowed[p] = append(imports, p, "cluster/latest", "cluster/statefile")
		}
	}
	for _, p := range packages(t) {
		may, ok := allowed[p.path()]
		delete(allowed, p.path())
		if !ok {
			t.Errorf("%s does not list package %s: say what it owns and what it may import", architecture, p.path())
			continue
		}
		for _, i := range p.Imports {
			i, ours := strings.CutPrefix(i, module+"/")
			if ours && !slices.ContainsFunc(may, func(m string) bool { return matchesPackage(m, i) }) {
				t.Errorf("%s imports %s, which its row in %s does not allow", p.path(), i, architecture)
			}
		}
	}
	for p := range allowed {
		t.Errorf("%s lists package %s, which does not exist", architecture, p)
	}
}

// matchesPackage reports whether a package is the one that pattern names; x/... also stands for all below x.
func matchesPackage(pattern, pkg string) bool {
	if root, ok := strings.CutSuffix(pattern, "/..."); ok {
		return within(pkg, root)
	}
	return pattern == pkg
}

// TestClaims checks that every claim of SECURITY.md names what tries it.
func TestClaims(t *testing.T) {
	rows := tableOf(t, document(t, security), "## What holds")
	for _, row := range rows {
		cites, _ := code(row[len(row)-1])
		if !slices.ContainsFunc(cites, func(s string) bool {
			return testName.MatchString(s) || path.Ext(s) == ".txtar"
		}) {
			t.Errorf("%s names no test or script for %q", security, row[0])
		}
	}
}

func TestMakeTargets(t *testing.T) {
	targets := regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(document(t, "Makefile"), -1)
	for _, name := range []string{architecture, contributing, security, readme} {
		text := document(t, name)
		for _, m := range regexp.MustCompile("(?m)(?:`|^)(?:[A-Z]+=\\S+ )*make ([a-z0-9-]+)").FindAllStringSubmatch(text, -1) {
			if !slices.ContainsFunc(targets, func(target []string) bool { return target[1] == m[1] }) {
				t.Errorf("%s says make %s, but Makefile has no such target", name, m[1])
			}
		}
	}
}

// TestVariables checks that CONTRIBUTING.md tells about every environment variable of kl's, and about no other.
func TestVariables(t *testing.T) {
	variable := regexp.MustCompile(`\bKL_[A-Z0-9_]*[A-Z0-9]\b`)
	literal := regexp.MustCompile(`"(KL_[A-Z0-9_]*[A-Z0-9])=?"`)
	read := map[string]string{}
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "dist"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(file) != ".go":
			return nil
		}
		data, err := os.ReadFile(file)
		for _, m := range literal.FindAllStringSubmatch(string(data), -1) {
			if !strings.HasPrefix(m[1], "KL_TEST_") { // set by tests that start their own binary again
				read[m[1]] = file
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(read) < 5 {
		t.Fatalf("found %d variables only: does the pattern still fit how documents are written?", len(read))
	}
	told := map[string]bool{}
	for _, v := range variable.FindAllString(document(t, contributing), -1) {
		told[v] = true
		if read[v] == "" {
			t.Errorf("%s tells about %s, which nothing reads", contributing, v)
		}
	}
	for v, file := range read {
		if !told[v] {
			t.Errorf("%s does not tell about %s, which %s reads", contributing, v, strings.TrimPrefix(file, "../"))
		}
	}
}

// TestChangelog checks the form that tools read: https://keepachangelog.com.
func TestChangelog(t *testing.T) {
	text := document(t, changelog)
	versions := regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(text, -1)
	if len(versions) == 0 || versions[0][1] != "[Unreleased]" {
		t.Errorf("the first version of %s is not [Unreleased]", changelog)
	}
	for _, m := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains([]string{"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}, m[1]) {
			t.Errorf("%s has a section %q", changelog, m[1])
		}
	}
	seen := map[string]bool{}
	for _, m := range versions {
		if seen[m[1]] {
			t.Errorf("%s has version %s twice", changelog, m[1])
		}
		seen[m[1]] = true
		if m[1] != "[Unreleased]" && !regexp.MustCompile(`^\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d$`).MatchString(m[1]) {
			t.Errorf("version %q of %s is not of the form [1.2.3] - 2006-01-02", m[1], changelog)
		}
	}
}
