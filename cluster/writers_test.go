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
	exempt := map[string]string{ // file, or directory, and why
		"cluster/clustertest":             "for tests alone",
		"embedded/payload/mkpayload":      "a program of the build",
		"embedded/payload/ensure.go":      "a payload is unpacked again when it is damaged",
		"embedded/node/boot":              "links the standard library alone; what it keeps is made again when it is damaged",
		"embedded/node/containerd/run.go": "made anew at every start, inside the node",
		"embedded/critest":                "temporary files of the suite, inside the node and its containers",
		"embedded/node/credentials.go":    "a token on a tmpfs of the node, for as long as the node joins",
		"embedded/controlplane/files.go":  "made anew at every start",
		"embedded/controlplane/audit.go":  "made anew at every start",
		"embedded/node/storage/loop":      "a program made anew at every start, inside the node",
		"embedded/node/storage/driver":    "renames directories of volumes",
		"embedded/node/layers":            "files of images, and marks beside them that are made again",
		"cluster/pki/pki.go":              "renames a directory whose files are synced",
		"cluster/host/down.go":            "renames a directory that is removed",
		"cluster/native/create.go":        "renames a directory whose files are synced",
		"cluster/native/lifecycle.go":     "renames a directory that is removed",
		"cluster/native/exec.go":          "a temporary file for runc",
		"cluster/ephemeral/home.go":       "a program in a directory that lives as long as a command",
		"cluster/tour/run.go":             "temporary files of a scenario",
		"cluster/registry/store.go":       "renames blobs, which are synced",
		"cluster/native/forwarding.go":    "settings of the kernel",
		"cluster/native/cgroup2.go":       "settings of the kernel",
	}
	checkCalls(t, []string{"os.WriteFile", "os.Create", "os.Rename", "clientcmd.WriteToFile", "clientcmd.ModifyConfig"}, nil, exempt)
}

// TestOneReader checks that state and configuration are read by cluster/statefile, which waits for no pipe, reads no device and
// no more than such a file can hold. The kernel's files are read as they are.
func TestOneReader(t *testing.T) {
	exempt := map[string]string{
		"cluster/statefile":             "the reader itself",
		"cluster/clustertest":           "for tests alone",
		"cluster/docker/context.go":     "the docker command's files, read as it reads them",
		"cluster/docker/tree.go":        "files of a payload, which are regular",
		"cluster/host/leftovers.go":     "/proc",
		"cluster/host/lifecycle.go":     "/proc",
		"cluster/host/preflight.go":     "/proc",
		"cluster/doctor/system.go":      "settings of the machine",
		"cluster/native/force.go":       "/proc and cgroups",
		"cluster/native/state.go":       "cgroups",
		"cluster/native/process.go":     "/proc",
		"cluster/native/cgroup2.go":     "cgroups",
		"cluster/native/forwarding.go":  "a setting of the kernel",
		"cluster/native/root.go":        "the machine's resolv.conf",
		"embedded":                      "the control plane and nodes, which read what cluster/host has checked",
		"cluster/ephemeral/terminal.go": "the terminal",
		"cmd/input.go":                  "streams that the shell passes on",
		"cmd/kl-init":                   "links the standard library alone, inside the node",
	}
	kernels := func(path string) bool { return strings.HasPrefix(path, `"/proc/`) || strings.HasPrefix(path, `"/sys/`) }
	checkCalls(t, []string{"os.ReadFile", "os.Open"}, kernels, exempt)
}

// checkCalls checks that nothing but what is exempt calls, or passes on, certain functions. A call whose first argument is a
// literal that allowed accepts does not count.
func checkCalls(t *testing.T, functions []string, allowed func(literal string) bool, exempt map[string]string) {
	t.Helper()
	used := map[string]bool{}
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			path, fine := p.path()+"/"+name, map[ast.Node]bool{}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && allowed != nil && len(call.Args) > 0 {
					if arg, ok := call.Args[0].(*ast.BasicLit); ok && allowed(arg.Value) {
						fine[call.Fun] = true
					}
				}
				s, ok := n.(*ast.SelectorExpr)
				if !ok || fine[s] {
					return true
				}
				x, ok := s.X.(*ast.Ident)
				if !ok || !slices.Contains(functions, x.Name+"."+s.Sel.Name) {
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
			t.Errorf("%s (%s) has no such call: it needs no exemption", e, why)
		}
	}
}
