package cmd

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/export"
)

// TestLogsExport exports a cluster whose API does not answer, as a running and as a stopped one.
func TestLogsExport(t *testing.T) {
	m := newMachine(t)
	m.must("up")
	dir := filepath.Join(t.TempDir(), "bundle")
	out := m.must("logs", "export", dir)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if last := lines[len(lines)-1]; !regexp.MustCompile(`^Bundle of cluster kl: ` + dir + `, \d+ files in [0-9.]+ kB\. Values of Secrets are left out, but logs could not be searched for them\.$`).MatchString(last) {
		t.Errorf("the last line is %q", last)
	}
	for name, want := range map[string]string{
		"index.txt": "- API objects: the API server does not answer: ", "status.json": `"phase": "Ready"`, "status.txt": "state       Ready",
		"version.txt": "kl          v0.1.0", "doctor.txt": "disk", "control-plane/supervisor.json": `"state": "Running"`,
	} {
		if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %v, no %q in\n%s", name, err, want, data)
		}
	}
	m.must("stop")
	file := filepath.Join(t.TempDir(), "b.tar")
	m.must("logs", "export", "-o", file)
	if index := fileOf(t, file, "b/index.txt"); !strings.Contains(index, "- the cluster is Stopped\n") || !strings.Contains(index, "- API objects: reach cluster kl: its control plane is stopped\n") {
		t.Error(index)
	}
	// A cluster whose cluster.yaml is damaged is one that somebody wants to know about.
	if err := os.WriteFile(m.env.Home.Cluster("kl").SpecFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.must("logs", "export", "-o", file)
	if index := fileOf(t, file, "b/index.txt"); !strings.Contains(index, "- the cluster is Damaged\n") || !strings.Contains(index, "cluster.yaml") {
		t.Error(index)
	}
}

// fileOf returns a file of a tar.
func fileOf(t *testing.T, file, name string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("%s has no %s", file, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == name {
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
	}
}

func TestLogsExportMistakes(t *testing.T) {
	m := newMachine(t)
	m.must("up")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{}, exitUsage, "kl: kl logs export: want a directory, or an archive with -o\n    see 'kl logs export --help'\n"},
		{[]string{"new", "-o", "new.tar"}, exitUsage, "kl: kl logs export: want a directory, or an archive with -o\n    see 'kl logs export --help'\n"},
		{[]string{"-o", "new.zip"}, exitFailed, "kl: write new.zip: its name says no kind of archive\n    let it end in .tar.zst, .tar.gz or .tar\n"},
		{[]string{"testdata"}, exitFailed, "kl: write testdata: the directory is not empty\n    name one that does not exist, or remove it first\n"},
		{[]string{"-o", "none/new.tar"}, exitFailed, "kl: write none/new.tar: no such file or directory\n    name a file in a directory that you can write to\n"},
		{[]string{"new", "--name", "none"}, exitFailed, "kl: find cluster none: file does not exist\n    'kl list' shows the clusters there are; 'kl up --name none' makes it\n"},
	} {
		out, stderr, code := m.run(append([]string{"logs", "export"}, tt.args...)...)
		if out != "" || stderr != tt.want || code != tt.code {
			t.Errorf("%q: exit code %d, %q, want %q", tt.args, code, stderr, tt.want)
		}
	}
	if _, err := os.Stat("new"); err == nil {
		t.Error("something was written")
	}
}

// TestLogsStillTakesNames checks that export beside the names of logs changes nothing for these.
func TestLogsStillTakesNames(t *testing.T) {
	m := newMachine(t)
	m.must("up")
	m.must("logs", "control-plane")
	if _, stderr, code := m.run("logs", "exprt"); code != exitFailed || !strings.Contains(stderr, "find log exprt") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if out := m.must("__complete", "logs", ""); !strings.Contains(out, "\ncontrol-plane\n") || !strings.Contains(out, "export\t") {
		t.Errorf("completion is %q", out)
	}
}

func TestExportProgress(t *testing.T) {
	var out bytes.Buffer
	x := newExportProgress(&out)
	x.progress(export.Progress{Done: 1, Of: 3, Running: []string{"a", "b"}, Bytes: 1500})
	if out.Len() > 0 {
		t.Errorf("printed at once: %q", &out)
	}
	x.next = time.Now().Add(-time.Second)
	for range 2 {
		x.progress(export.Progress{Done: 1, Of: 3, Running: []string{"a", "b"}, Bytes: 1500})
	}
	if want := "1 of 3 done, 1.5 kB; waiting for a, b\n"; out.String() != want {
		t.Errorf("printed %q, want %q", &out, want)
	}
}
