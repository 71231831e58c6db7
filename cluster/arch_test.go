package cluster_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The architecture of kl: what packages may import, transitively or not, and that they say what they are for. A failure
// here is a reason to think again about where the code belongs.

const module = "github.com/klkube/kl"

// goPackage is what go list prints about one package of the module.
type goPackage struct {
	ImportPath   string
	Dir          string
	Name         string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

func (p goPackage) path() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Name,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = ".."
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list found %d packages only", len(all))
	}
	return all
}

// within reports whether path is one of the roots or below one.
func within(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") })
}

func TestForbiddenImports(t *testing.T) {
	heavy := []string{"k8s.io/kubernetes", "go.etcd.io/etcd", "github.com/containerd/containerd"}
	light := []string{"embedded/payload", "embedded/node/boot"}
	// Rules about what a package's own files, tests included, import.
	direct := []struct {
		imports []string
		only    []string // may
		never   []string // may not, although below one of only
		reason  string
	}{
		{heavy, []string{"embedded", "cmd/kl-engine"}, light, "only kl-engine links the control plane and the runtime: " +
			"it costs every start 100 ms and 145 MB, and every build minutes"},
		{[]string{"github.com/docker/docker"}, []string{"cluster/docker"}, nil, "nodes come from a cluster.Driver: " +
			"code elsewhere that knows Docker breaks the other drivers"},
		{[]string{module + "/cluster/docker", module + "/cluster/native", module + "/cluster/sim"},
			[]string{"cluster/docker", "cluster/native", "cluster/sim", "cmd/kl", "cmd/kl-engine"}, nil,
			"drivers are wired in main alone: all other code asks for a cluster.Driver"},
		{[]string{"github.com/charmbracelet", "github.com/NimbleMarkets"}, []string{"ui"}, nil, "the terminal is ui's"},
		{[]string{"github.com/spf13/cobra"}, []string{"cmd", "embedded"}, nil, "commands are plain functions below cmd"},
		{[]string{module + "/cmd"}, []string{"cmd"}, nil, "commands call the domain, not the other way round"},
		{[]string{module + "/ui"}, []string{"cmd", "ui"}, nil, "the domain does not know how it is shown"},
		{[]string{"github.com/stretchr/testify"}, nil, nil, "tests use the standard library and cmp.Diff"},
	}
	// Rules about all that a package links.
	deep := []struct {
		roots  []string
		never  []string
		reason string
	}{
		{[]string{"cmd/kl", "cmd", "cluster", "ui", "embedded/payload", "embedded/tunnel", "embedded/lifecycle"},
			append([]string{"k8s.io/apiserver"}, heavy...), "kl answers in milliseconds and its tests build in seconds"},
		{[]string{"ui/kit"}, []string{"k8s.io"}, "drawing is a function of text and numbers: what they mean is known in package ui"},
		{[]string{"cmd/kl-init", "embedded/node/boot"}, []string{"k8s.io", "github.com", "golang.org/x", "google.golang.org"},
			"PID 1 of every node is the standard library alone: small, and nothing in it starts goroutines by itself"},
	}
	for _, p := range packages(t) {
		imports := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
		for _, rule := range direct {
			if within(p.path(), rule.only...) && !within(p.path(), rule.never...) {
				continue
			}
			for _, i := range imports {
				if within(i, rule.imports...) {
					t.Errorf("%s imports %s: %s", p.path(), i, rule.reason)
				}
			}
		}
		for _, rule := range deep {
			if !within(p.path(), rule.roots...) || p.path() == "cmd/kl-engine" {
				continue
			}
			for _, d := range p.Deps {
				if within(d, rule.never...) && !within(d, module) {
					t.Errorf("%s reaches %s: %s", p.path(), d, rule.reason)
					break // the packages behind it would only repeat this
				}
			}
		}
	}
}

// TestPackageDocs checks that every package says what it is for, in one place, and how it is used.
func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		var docs []string
		for _, f := range parse(t, p, parser.PackageClauseOnly|parser.ParseComments) {
			if f.Doc != nil {
				docs = append(docs, f.Doc.Text())
			}
		}
		if len(p.GoFiles) == 0 {
			continue
		}
		if len(docs) != 1 {
			t.Errorf("%s has %d package comments, want one", p.path(), len(docs))
			continue
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command " + filepath.Base(p.Dir) + " "
		}
		if !strings.HasPrefix(docs[0], want) && !strings.HasPrefix(docs[0], filepath.Base(p.Dir)+" ") {
			t.Errorf("the package comment of %s does not begin with %q", p.path(), want)
		}
		if p.Name != "main" && !strings.Contains(docs[0], "\n\t") && !hasExample(t, p) {
			t.Errorf("%s does not show how it is used: write an Example function, or code in the package comment", p.path())
		}
	}
}

// TestForbiddenCalls finds what makes code impossible to stop, to test or to read in order.
func TestForbiddenCalls(t *testing.T) {
	forbidden := map[string]string{
		"os.Exit":     "only main ends the process: return an error",
		"log.Fatal":   "only main ends the process: return an error",
		"log.Fatalf":  "only main ends the process: return an error",
		"time.Sleep":  "a wait selects on its context too",
		"fmt.Print":   "streams are injected",
		"fmt.Printf":  "streams are injected",
		"fmt.Println": "streams are injected",
	}
	for _, p := range packages(t) {
		if p.path() == "cluster/clustertest" { // its fakes are processes that tests start
			continue
		}
		for _, f := range parse(t, p, parser.SkipObjectResolution) {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					if n.Name.Name == "init" && n.Recv == nil {
						t.Errorf("%s has an init function: what is imported must not act", p.path())
					}
				case *ast.SelectorExpr:
					x, _ := n.X.(*ast.Ident)
					if x == nil {
						break
					}
					if why := forbidden[x.Name+"."+n.Sel.Name]; why != "" && p.Name != "main" {
						t.Errorf("%s uses %s.%s: %s", p.path(), x.Name, n.Sel.Name, why)
					}
				}
				return true
			})
		}
	}
}

// TestWholeLists finds lists of the kernel that may be incomplete, because nobody asks again when the kernel says so.
func TestWholeLists(t *testing.T) {
	lists := regexp.MustCompile(`^(Link|Addr|Route|Rule|Neigh)\w*List\w*$`) // of github.com/vishvananda/netlink
	found := 0
	for _, p := range packages(t) {
		if !slices.Contains(p.Imports, "github.com/vishvananda/netlink") {
			continue
		}
		for _, f := range parse(t, p, parser.SkipObjectResolution) {
			whole := map[ast.Node]bool{} // what is below an argument of netlist.Whole
			ast.Inspect(f, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 1 && isWhole(call.Fun) {
					ast.Inspect(call.Args[0], func(n ast.Node) bool { whole[n] = true; return true })
				}
				s, ok := n.(*ast.SelectorExpr)
				if !ok || !lists.MatchString(s.Sel.Name) {
					return true
				}
				if found++; !whole[n] {
					t.Errorf("%s calls %s without netlist.Whole, see cluster/netlist: the list may be incomplete", p.path(), s.Sel.Name)
				}
				return true
			})
		}
	}
	if found < 3 {
		t.Errorf("%d lists found: does the pattern still fit the names of the library?", found)
	}
}

func isWhole(fun ast.Expr) bool {
	if s, ok := fun.(*ast.SelectorExpr); ok {
		return s.Sel.Name == "Whole"
	}
	id, ok := fun.(*ast.Ident) // in package netlist itself
	return ok && id.Name == "Whole"
}

// hasExample reports whether the tests of a package have an example, of the package or of something it
// exports.
func hasExample(t *testing.T, p goPackage) bool {
	t.Helper()
	for _, f := range parseFiles(t, p.Dir, slices.Concat(p.TestGoFiles, p.XTestGoFiles), parser.SkipObjectResolution) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Example") {
				return true
			}
		}
	}
	return false
}

// parse reads the files of a package that are built here, tests left out.
func parse(t *testing.T, p goPackage, mode parser.Mode) []*ast.File {
	t.Helper()
	return parseFiles(t, p.Dir, p.GoFiles, mode)
}

func parseFiles(t *testing.T, dir string, names []string, mode parser.Mode) []*ast.File {
	t.Helper()
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, mode)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}
