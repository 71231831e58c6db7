// Package goldentest compares what a test draws with golden files, and finds golden files that no test reads any more.
//
//	func TestTable(t *testing.T) {
//		files := goldentest.New(t)
//		for _, tt := range tests {
//			t.Run(tt.name, func(t *testing.T) { files.Equal(t, tt.draw()) })
//		}
//	}
//
//	func TestGoldens(t *testing.T) { goldentest.CheckTests(t) }
//
// 'go test -update' writes the files.
package goldentest

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/charmbracelet/x/exp/golden"
)

// Files are the golden files of one test and its subtests: testdata/TestName.golden and testdata/TestName/….golden.
type Files struct{ read map[string]bool }

// New returns the golden files of a test. When the test ends, it fails if there are files that have not been read, unless
// the command line selected only some of its subtests.
func New(t *testing.T) *Files {
	t.Helper()
	f := &Files{read: map[string]bool{}}
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() || subtestsSelected() {
			return
		}
		for _, path := range f.unread("testdata", t.Name()) {
			t.Errorf("no test reads %s: delete the file", path)
		}
	})
	return f
}

// Equal fails a test, or a subtest, whose output differs from its golden file.
func (f *Files) Equal(t *testing.T, got string) {
	t.Helper()
	f.read[filepath.FromSlash(t.Name())+".golden"] = true
	golden.RequireEqual(t, []byte(got))
}

// unread lists the golden files of a test in dir that have not been read.
func (f *Files) unread(dir, test string) []string {
	var out []string
	for _, path := range goldens(dir) {
		name, err := filepath.Rel(dir, path)
		if err == nil && testOf(name) == test && !f.read[name] {
			out = append(out, path)
		}
	}
	return out
}

// subtestsSelected reports whether -run or -skip name subtests.
func subtestsSelected() bool {
	for _, name := range []string{"test.run", "test.skip"} {
		if f := flag.Lookup(name); f != nil && strings.Contains(f.Value.String(), "/") {
			return true
		}
	}
	return false
}

// CheckTests fails if a golden file in testdata belongs to no test of the package in the current directory.
func CheckTests(t *testing.T) {
	t.Helper()
	orphans, err := orphans(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range orphans {
		t.Errorf("%s belongs to no test: delete the file", path)
	}
}

// orphans lists the golden files of a package that belong to none of its tests.
func orphans(dir string) ([]string, error) {
	tests, err := testNames(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	testdata := filepath.Join(dir, "testdata")
	for _, path := range goldens(testdata) {
		if name, err := filepath.Rel(testdata, path); err == nil && !tests[testOf(name)] {
			out = append(out, path)
		}
	}
	return out, nil
}

// testOf is the name of the top-level test that a file in testdata belongs to.
func testOf(name string) string {
	first, _, _ := strings.Cut(filepath.ToSlash(name), "/")
	return strings.TrimSuffix(first, ".golden")
}

// goldens lists the golden files below a directory, which need not exist.
func goldens(dir string) []string {
	var out []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".golden" {
			out = append(out, path)
		}
		return nil
	}) // a directory that cannot be read holds no file that a test could read
	return out
}

// testNames are the names of the top-level functions in the test files of a directory.
func testNames(dir string) (map[string]bool, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				names[fn.Name.Name] = true
			}
		}
	}
	return names, nil
}
