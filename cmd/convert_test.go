package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	oldBudget = "# keep\napiVersion: policy/v1beta1 # beta\nkind: PodDisruptionBudget\nmetadata: {name: db}\n"
	newBudget = "# keep\napiVersion: policy/v1 # beta\nkind: PodDisruptionBudget\nmetadata: {name: db}\n"
	oldPolicy = "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata: {name: p}\nspec: {privileged: true}\n"
	current   = "apiVersion: v1\nkind: Pod\nmetadata: {name:   p}"
)

// put writes files below a new directory and returns it.
func put(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tree returns the files below a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestConvertToStandardOutput(t *testing.T) {
	m := newMachine(t)
	dir := put(t, map[string]string{"a/old.yaml": oldBudget, "b.yml": current, "notes.txt": oldPolicy, ".git/x.yaml": "[", "values.yaml": "a: b\n"})
	out, errs, code := m.run("convert", "-f", dir)
	want := "# Source: " + dir + "/a/old.yaml\n" + newBudget + "---\n# Source: " + dir + "/b.yml\n" + current + "\n"
	if diff := cmp.Diff(want, out); diff != "" || code != exitOK {
		t.Errorf("exit code %d\n%s", code, diff)
	}
	wantErrs := dir + "/a/old.yaml:2: PodDisruptionBudget db: policy/v1beta1 is now policy/v1: Kubernetes 1.25 and newer do not serve the old version\n" +
		dir + "/values.yaml: skipped: no Kubernetes manifest: nothing in it has apiVersion and kind\n" +
		"2 objects in 2 files: 1 converted, 0 need a person\n"
	if diff := cmp.Diff(wantErrs, errs); diff != "" {
		t.Error(diff)
	}
	again, _, code := m.runWith(out, "convert", "-f", "-")
	if again != out || code != exitOK {
		t.Errorf("exit code %d, and converting it again is\n%s", code, again)
	}
}

func TestConvertLeavesWhatHasNoSuccessor(t *testing.T) {
	m := newMachine(t)
	out, errs, code := m.runWith(oldPolicy+"---\n"+oldBudget, "convert", "-f", "-")
	if code != exitFailed || !strings.Contains(errs, "standard input:1: PodSecurityPolicy p: not converted: ") || strings.Contains(errs, "kl:") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if !strings.HasPrefix(out, "# Not converted: ") || !strings.HasSuffix(out, "---\n"+newBudget) {
		t.Error(out)
	}
}

func TestConvertInPlace(t *testing.T) {
	m := newMachine(t)
	files := map[string]string{"old.yaml": oldBudget, "current.yaml": current, "bad.yaml": "apiVersion: [\n", "left.json": `{"apiVersion": "policy/v1beta1", "kind": "PodSecurityPolicy"}`}
	dir := put(t, files)
	before, err := os.Stat(filepath.Join(dir, "current.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out, errs, code := m.run("convert", "-f", dir, "--write")
	if out != "" || code != exitFailed || !strings.Contains(errs, "kl: convert "+dir+"/bad.yaml:1: not valid YAML") {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
	files["old.yaml"] = newBudget
	if diff := cmp.Diff(files, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(filepath.Join(dir, "old.yaml"))
	after, _ := os.Stat(filepath.Join(dir, "current.yaml"))
	if err != nil || info.Mode() != 0o640 || !os.SameFile(before, after) {
		t.Errorf("the mode is %v (%v), and the file without a change was written: %v", info.Mode(), err, !os.SameFile(before, after))
	}
}

func TestConvertIntoADirectory(t *testing.T) {
	m := newMachine(t)
	dir := put(t, map[string]string{"a/old.yaml": oldBudget, "b.yaml": current})
	to := filepath.Join(t.TempDir(), "new/er")
	m.must("convert", "-f", dir, "--to", to)
	m.must("convert", "-f", dir, "--to", to) // to the same result
	want := map[string]string{"a/old.yaml": newBudget, "b.yaml": current}
	if diff := cmp.Diff(want, tree(t, to)); diff != "" {
		t.Error(diff)
	}
	want["b.yaml"] = "precious"
	if err := os.WriteFile(filepath.Join(to, "b.yaml"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := put(t, map[string]string{"a/old.yaml": current, "b.yaml": current})
	if _, errs, code := m.run("convert", "-f", other, "--to", to); code != exitFailed || !strings.Contains(errs, "there is something else already") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if _, errs, code := m.run("convert", "-f", dir, "-f", other, "--to", t.TempDir()); code != exitFailed || !strings.Contains(errs, "would go there") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if diff := cmp.Diff(want, tree(t, to)); diff != "" {
		t.Error(diff)
	}
}

// TestConvertBadInput gives kl convert what it cannot convert: each is answered by one line that names it, and nothing is printed.
func TestConvertBadInput(t *testing.T) {
	m := newMachine(t)
	dir := put(t, map[string]string{"empty.yaml": "", "prose.yaml": "hello\n", "binary.yaml": "\x7fELF\x00", "broken.yaml": current + "\n---\n" + current + "\n  x: {\n", "none/readme.md": "x"})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		want string
		code int
	}{
		"no flag":      {nil, "-f FILE", exitUsage},
		"no name":      {[]string{"-f", ""}, "-f names no file", exitUsage},
		"missing":      {[]string{"-f", dir + "/missing"}, dir + "/missing: no such file or directory", exitUsage},
		"empty":        {[]string{"-f", dir + "/empty.yaml"}, dir + "/empty.yaml: empty", exitFailed},
		"prose":        {[]string{"-f", dir + "/prose.yaml"}, dir + "/prose.yaml: no Kubernetes manifest", exitFailed},
		"binary":       {[]string{"-f", dir + "/binary.yaml"}, dir + "/binary.yaml: not a text file", exitFailed},
		"broken":       {[]string{"-f", dir + "/broken.yaml"}, dir + "/broken.yaml:", exitFailed},
		"pipe":         {[]string{"-f", dir + "/pipe"}, dir + "/pipe: is a named pipe, not a regular file", exitFailed},
		"no manifests": {[]string{"-f", dir + "/none"}, dir + "/none: no file in it ends in .yaml, .yml or .json", exitUsage},
		"both":         {[]string{"-f", dir, "--write", "--to", dir}, "--write", exitUsage},
		"stdin":        {[]string{"-f", "-", "--write"}, "standard input", exitUsage},
		"empty stdin":  {[]string{"-f", "-"}, "standard input: empty", exitFailed},
		"an argument":  {[]string{dir}, dir, exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := m.run(append([]string{"convert"}, tt.args...)...)
			first, rest, _ := strings.Cut(errs, "\n")
			if code != tt.code || out != "" || !strings.HasPrefix(first, "kl: ") || !strings.Contains(first, tt.want) || strings.Count(rest, "\n") > 1 {
				t.Errorf("exit code %d, want %d with %q\n%s%s", code, tt.code, tt.want, out, errs)
			}
		})
	}
}
