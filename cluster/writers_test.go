package cluster_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOneWriter checks that state and configuration are written by cluster/statefile, which keeps owner and mode, follows
// links, and leaves the old file or the new one after a power failure.
func TestOneWriter(t *testing.T) {
	exempt := map[string]string{ // file, or directory: why
		"cluster/clustertest":             "for tests alone",
		"embedded/payload/mkpayload":      "a program of the build",
		"embedded/payload/ensure.go":      "a payload is unpacked again when it is damaged",
		"embedded/node/boot":              "links the standard library alone; what it keeps is made again when it is damaged",
		"embedded/node/containerd/run.go": "made anew at every start, inside the node",
		"embedded/controlplane/files.go":  "made anew at every start",
		"embedded/node/storage/driver":    "renames directories of volumes",
		"cluster/pki/pki.go":              "renames a directory whose files are synced",
		"cluster/host/down.go":            "renames a directory that is removed",
		"cluster/native/create.go":        "renames a directory whose files are synced",
		"cluster/native/lifecycle.go":     "renames a directory that is removed",
		"cluster/native/exec.go":          "a temporary file for runc",
		"cluster/native/forwarding.go":    "settings of the kernel",
		"cluster/native/cgroup2.go":       "settings of the kernel",
	}
	writers := []string{"os.WriteFile", "os.Create", "os.Rename", "clientcmd.WriteToFile", "clientcmd.ModifyConfig"}
	used := map[string]bool{}
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			path := p.path() + "/" + name
			ast.Inspect(file, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := s.X.(*ast.Ident)
				if !ok || !slices.Contains(writers, x.Name+"."+s.Sel.Name) {
					return true
				}
				for e := range exempt {
					if path == e || strings.HasPrefix(path, e+"/") {
						used[e] = true
						return true
					}
				}
				t.Errorf("%s calls %s.%s: use cluster/statefile, or say here why not", fset.Position(s.Pos()), x.Name, s.Sel.Name)
				return true
			})
		}
	}
	for e, why := range exempt {
		if !used[e] {
			t.Errorf("%s (%s) writes nothing: it needs no exemption", e, why)
		}
	}
}
