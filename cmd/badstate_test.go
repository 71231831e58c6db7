package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

// stateRuins are what can be wrong with a file that had that content.
func stateRuins(content []byte) map[string]func(path string) error {
	ruins := map[string]func(path string) error{
		"a hundred megabytes": func(path string) error {
			return errors.Join(os.WriteFile(path, content, 0o600), os.Truncate(path, 100<<20))
		},
	}
	for what, put := range oddKinds() {
		ruins[what] = put
	}
	for what, text := range map[string]string{
		"empty": "", "a newline": "\n", "a word": "hello", "binary": "\x7fELF\x02\x01\x01\x00\xff\xfe\x1b[31m\u202e", "half": string(content[:len(content)/2]),
		"twice": string(content) + string(content), "null": "null", "a number": "7", "a list": "[1]", "a string": `"x"`, "an object": `{"odd":{"a":[1]}}`,
		"deep": strings.Repeat("[", 20_000), "a large number": strings.Repeat("9", 400), "a negative number": "-1", "UTF-16": "\xff\xfe{\x00}\x00", "escapes": "\x1b]0;x\a\x1b[2J\r\n",
	} {
		ruins[what] = func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	return ruins
}

// TestBadState spoils every file of a cluster that is stopped, one after another, and looks at the cluster: no command hangs, and
// one that fails names the file. The cluster can be removed each time.
func TestBadState(t *testing.T) {
	m := withCluster(t)
	l := m.env.Home.Cluster("kl")
	for _, path := range []string{l.SupervisorFile(), l.FailedFile()} { // of a control plane that died, for a while
		if err := os.WriteFile(path+".sample", []byte(`{"pid":1,"boot":"x","state":"GaveUp","crashes":{"count":1,"inARow":1}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.must("stop")
	for _, path := range []string{l.SupervisorFile(), l.FailedFile()} {
		if err := os.Rename(path+".sample", path); err != nil {
			t.Fatal(err)
		}
	}
	looks := [][]string{{"list"}, {"status"}, {"status", "-o", "json"}, {"config", "view"}, {"kubeconfig"}, {"kubectl", "get", "pods"}, {"logs"}, {"node", "list"}, {"image", "load", "app:1"}}
	n := 0
	for _, path := range stateFiles(t, l) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sound := map[string]string{}
		for _, args := range looks {
			_, sound[args[0]], _ = m.run(args...)
		}
		for what, ruin := range stateRuins(content) {
			if err := errors.Join(os.RemoveAll(path), ruin(path)); errors.Is(err, fs.ErrPermission) {
				t.Logf("SKIPPED: %s: only root makes that", what)
				continue
			} else if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			n++
			for _, args := range looks {
				m.look(strings.TrimPrefix(path, l.Dir())+" is "+what, path, sound[args[0]], args...)
			}
			restore(t, path, content)
		}
	}
	if n < 400 {
		t.Errorf("the corpus has %d files, want 400", n)
	}
	t.Logf("%d files", n)
}

// look runs a command on a cluster of which a file is spoiled. It may do without the file, and fail as on a sound cluster.
func (m *machine) look(what, path, sound string, args ...string) {
	m.t.Helper()
	out := m.answer(what, "", "", []int{exitOK, exitFailed}, args...)
	stopped := strings.Contains(out.stderr, "its control plane is stopped\n") && strings.HasSuffix(what, "link") // which is as good as no file
	if out.code != exitOK && out.stderr != sound && !stopped && !strings.Contains(out.stderr, path) {
		m.t.Errorf("%s: kl %q: exit code %d, and the file is not named: %s", what, args, out.code, out.stderr)
	}
	if odd := regexp.MustCompile(`[^\n\t[:print:]\p{L}\p{M}\p{N}\p{P}\p{S} ]`).FindString(out.stdout); odd != "" && args[0] != "logs" && args[0] != "kubeconfig" {
		m.t.Errorf("%s: kl %q prints %q", what, args, odd)
	}
}

// stateFiles are the files that kl has written for a cluster.
func stateFiles(t *testing.T, l cluster.Layout) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(l.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func restore(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(path), os.RemoveAll(path+".target"), os.WriteFile(path, content, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestBadStateAtStart starts a cluster of which a file is spoiled: it starts, or says which file is in the way. down removes it
// whichever it was.
func TestBadStateAtStart(t *testing.T) {
	m := withCluster(t)
	l := m.env.Home.Cluster("kl")
	m.must("stop")
	anew := func() {
		m.must("down")
		m.must("up")
		m.must("stop")
	}
	for _, path := range append(stateFiles(t, l), l.LockFile()) {
		for _, what := range []string{"empty", "binary", "zero", "dangling link", "pipe"} {
			content, err := os.ReadFile(path) // of this cluster: it may be a new one
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err := errors.Join(os.RemoveAll(path), stateRuins(content)[what](path)); errors.Is(err, fs.ErrPermission) {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			if start := []string{"start", "--timeout", "20s"}; what == "dangling link" { // as good as no file
				m.answer(path+" is "+what, "", "", []int{exitOK, exitFailed}, start...)
			} else {
				m.look(strings.TrimPrefix(path, l.Dir())+" is "+what, path, "", start...)
			}
			if _, _, code := m.run("stop"); code != exitOK || what == "pipe" { // the file is in the way of stop, too; or once a file
				anew()
			} else if content != nil {
				restore(t, path, content)
			}
		}
	}
}

// TestBadSpecs spoils cluster.yaml as only a person or another version of kl could: field by field.
func TestBadSpecs(t *testing.T) {
	m := withCluster(t)
	l := m.env.Home.Cluster("kl")
	m.must("stop")
	content, err := os.ReadFile(l.SpecFile())
	if err != nil {
		t.Fatal(err)
	}
	lines, n := strings.SplitAfter(string(content), "\n"), 0
	_, sound, _ := m.run("start", "--timeout", "0s")
	for i, line := range lines[:len(lines)-1] {
		key, _, _ := strings.Cut(line, ":")
		for _, text := range []string{key + ": {a: [b]}\n", key + ": [[1]]\n", key + ": 99999999999999999999\n", key + ": \"\\0\\e[31m\"\n", key + ": *nowhere\n", key + "\n", line + line, "\t" + line, line + "odd: 1\n", "--- \n" + line, "\x00", key + ": !!binary x\n"} {
			n++
			spoiled := strings.Join(lines[:i], "") + text + strings.Join(lines[i+1:], "")
			if err := os.WriteFile(l.SpecFile(), []byte(spoiled), 0o600); err != nil {
				t.Fatal(err)
			}
			what := fmt.Sprintf("cluster.yaml with %.40q in place of line %d", text, i+1)
			m.look(what, l.SpecFile(), "", "config", "view")
			m.look(what, l.SpecFile(), sound, "status")
		}
	}
	restore(t, l.SpecFile(), content)
	t.Logf("%d files", n)
}
