package kubeconfig_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/cluster/kubeconfig"
)

// insides are words of a program's insides, which no answer to a person contains.
var insides = regexp.MustCompile(`goroutine \d|\bpanic\b|runtime error|reflect\.|\bGo (value|struct)|cannot unmarshal|(^|[^.])json: |strconv\.|%!`)

// badKubeconfigs makes files out of a valid one that may be wrong, by what was done to them.
func badKubeconfigs(t testing.TB, valid string) map[string]string {
	bad := map[string]string{}
	lines := strings.SplitAfter(valid, "\n")
	for i, line := range lines[:len(lines)-1] {
		before, after := strings.Join(lines[:i], ""), strings.Join(lines[i+1:], "")
		for _, odd := range []string{"\t- x\n", "\x00\n", "\xff\xfe\n", "}\n", "odd: &a [*a]\n", "--- \n", line, strings.TrimSuffix(line, "\n") + " : : {[\n"} {
			bad[before+line+odd+after] = fmt.Sprintf("%.20q behind line %d", odd, i+1)
		}
		bad[before] = fmt.Sprintf("cut off before line %d", i+1)
		bad[before+line[:len(line)/2]] = fmt.Sprintf("cut off in line %d", i+1)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(valid), &doc); err != nil {
		t.Fatal(err)
	}
	var visit func(n *yaml.Node, path string)
	visit = func(n *yaml.Node, path string) {
		good := *n
		for _, text := range []string{"null", "7", "true", "odd", "[]", "{}", "[1]", "[{}]", "{a: b}", "[[a]]", `"\e[31m"`, "99999999999999999999", "!!binary x", "2001-01-01"} {
			var odd yaml.Node
			if err := yaml.Unmarshal([]byte(text), &odd); err != nil {
				t.Fatal(err)
			}
			*n = *odd.Content[0]
			data, err := yaml.Marshal(&doc)
			if err != nil {
				t.Fatal(err)
			}
			bad[string(data)] = path + " is " + text
			*n = good
		}
		for i, c := range n.Content {
			switch {
			case n.Kind == yaml.SequenceNode:
				visit(c, fmt.Sprintf("%s[%d]", path, i))
			case n.Kind == yaml.MappingNode && i%2 == 1:
				visit(c, path+"."+n.Content[i-1].Value)
			}
		}
	}
	visit(doc.Content[0], "")
	for _, text := range []string{"hello", "\x7fELF", "[]", "7", "null", "\xef\xbb\xbf" + valid, strings.Repeat("[", 20_000), "%YAML 9.9\n", valid + "---\n" + valid, "apiVersion: v1\nkind: Pod\n", "apiVersion: v2\nkind: Config\n"} {
		bad[text] = fmt.Sprintf("%.20q", text)
	}
	return bad
}

// TestBadKubeconfigs merges a cluster into, and withdraws it from, hundreds of files. What kubectl refuses to read is answered by a
// line that names the file, and stays as it is. All others kubectl can read afterwards, and they keep what they had.
func TestBadKubeconfigs(t *testing.T) {
	l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
	bad := badKubeconfigs(t, readForeign(t))
	refused := 0
	for content, what := range bad {
		write(t, path, content)
		_, unreadable := clientcmd.Load([]byte(content))
		_, err := kubeconfig.Merge(t.Context(), l, path, true)
		if err != nil {
			refused++
			checkRefused(t, what, path, err)
		}
		switch after := read(t, path); {
		case unreadable != nil && err == nil:
			t.Errorf("%s: kubectl refuses it (%v), and it was changed", what, unreadable)
		case err != nil && after != content:
			t.Errorf("%s: refused, and changed to\n%s", what, after)
		case err == nil:
			parseConfig(t, after)
		}
		for _, err := range kubeconfig.Forget(t.Context(), l, []string{path}) {
			checkRefused(t, what, path, err)
		}
		if after := read(t, path); err != nil && after != content {
			t.Errorf("%s: changed by forget to\n%s", what, after)
		}
	}
	if len(bad) < 400 || refused < 200 {
		t.Errorf("the corpus has %d files, of which %d are refused; want 400 and 200", len(bad), refused)
	}
	t.Logf("%d files, %d refused", len(bad), refused)
}

// TestKubeconfigsThatAreNoFiles merges into what is no file, or a far too large one.
func TestKubeconfigsThatAreNoFiles(t *testing.T) {
	l := newCluster(t)
	for what, put := range map[string]func(path string) error{
		"directory": func(path string) error { return os.MkdirAll(path, 0o700) },
		"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"zero":      func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|5) },
		"loop":      func(path string) error { return os.Symlink(path, path) },
		"100 MB": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 100<<20))
		},
	} {
		path := filepath.Join(t.TempDir(), "config")
		if err := put(path); errors.Is(err, syscall.EPERM) {
			t.Logf("SKIPPED: only root makes %s", what)
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if _, err := kubeconfig.Merge(t.Context(), l, path, true); err == nil {
			t.Errorf("%s: no error", what)
		} else {
			checkRefused(t, what, path, err)
		}
	}
}

func checkRefused(t *testing.T, what, path string, err error) {
	t.Helper()
	text := err.Error()
	odd := strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) })
	if odd || !strings.Contains(text, path) || insides.MatchString(text) || len(text) > 1000 {
		t.Errorf("%s: answered by %.1000q", what, text)
	}
}

// FuzzMerge checks that a file that kubectl can read is one afterwards, and that any other is left alone.
func FuzzMerge(f *testing.F) {
	foreign, err := os.ReadFile("../../testdata/kubeconfig/foreign.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(foreign)
	f.Add([]byte("apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: b}}]\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
		write(t, path, string(content))
		if _, err := kubeconfig.Merge(t.Context(), l, path, true); err == nil {
			parseConfig(t, read(t, path))
			return
		}
		if read(t, path) != string(content) {
			t.Error("refused, and changed")
		}
	})
}
