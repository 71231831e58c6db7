package cmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster/clustertest"
)

// writeFile writes a file of a directory and returns its path.
func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const manifest = `apiVersion: v1
kind: Pod
spec:
  containers:
  - image: app:1
  - image: 127.0.0.1:1/tools:2
---
apiVersion: example.com/v1
kind: Site
spec:
  image: 127.0.0.1:1/logo.png
`

func TestBundle(t *testing.T) {
	m := newMachine(t)
	t.Setenv("TMPDIR", t.TempDir())
	dir := t.TempDir()
	t.Chdir(dir)
	writeFile(t, dir, "app.yaml", manifest)
	writeFile(t, dir, "tools.tar", string(clustertest.Tar(clustertest.OCIArchive("127.0.0.1:1/tools:2")...)))
	stdout, stderr, code := m.run("bundle", "create", "-o", "b.tar.zst", "-f", "app.yaml", "tools.tar")
	if code != exitOK || !strings.HasPrefix(stdout, "b.tar.zst: 2 images, 1 layer of 0.0 MB in 0.0 MB") {
		t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
	}
	if want := "kl: 127.0.0.1:1/logo.png:latest (app.yaml:11) is left out, since no image has that name: it is not in tools.tar, nor in docker, nor in its registry (127.0.0.1:1 is not reachable: "; !strings.HasPrefix(stderr, want) {
		t.Errorf("%q, want %q", stderr, want)
	}
	out := m.must("bundle", "ls", "b.tar.zst")
	for _, want := range []string{"NAME                  ID             LAYERS   SIZE\n", "\napp:1                 ", "\n127.0.0.1:1/tools:2   "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	var list []bundledImage
	decode(t, m.must("bundle", "list", "b.tar.zst", "-o", "json"), &list)
	if len(list) != 2 || list[1].Names[0] != "docker.io/library/app:1" || list[1].Layers != 1 || list[1].Size != 2048 || list[1].Digest == "" {
		t.Errorf("images are %+v", list)
	}
	first, err := os.ReadFile("b.tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-o", "-", "-f", "-", "tools.tar"}, {"-o", "-", "tools.tar", "app:1", "127.0.0.1:1/tools:2", "app:1"}} {
		stdout, stderr, code := m.runWith(manifest, append([]string{"bundle", "create"}, args...)...)
		if code != exitOK || stdout != string(first) {
			t.Errorf("%q: exit code %d, %d bytes instead of %d, %q", args, code, len(stdout), len(first), stderr)
		}
	}
	m.must("up")
	if out := m.must("image", "load", "b.tar.zst"); !strings.HasPrefix(out, "n1 loaded 127.0.0.1:1/tools:2, docker.io/library/app:1 in ") {
		t.Errorf("%q", out)
	}
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*")); left != nil {
		t.Errorf("left: %q", left)
	}
}

func TestBundleBad(t *testing.T) {
	m := newMachine(t)
	dir := t.TempDir()
	t.Chdir(dir)
	app := clustertest.Tar(clustertest.OCIArchive("127.0.0.1:1/tools:2")...)
	for name, text := range map[string]string{
		"app.yaml": manifest, "bad.yaml": "a: [", "none.yaml": "a: b", "cut.tar": string(app[:1560]), "tools.tar": string(app), "b.tar.zst": "old", "text": "hello",
		"damaged.tar": string(bytes.Replace(app, []byte("hello\n"), []byte("jello\n"), 1)),
	} {
		writeFile(t, dir, name, text)
	}
	if err := os.Mkdir("empty", 0o700); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"127.0.0.1:1/app:2": "kl: find 127.0.0.1:1/app:2: it is not in docker, nor in its registry (127.0.0.1:1 is not reachable: ",
		"-f app.yaml":       "kl: find 127.0.0.1:1/tools:2 (app.yaml:6): it is not in docker, nor in its registry (127.0.0.1:1 ",
		"-f app.yaml tools.tar 127.0.0.1:1/app:2": "kl: find 127.0.0.1:1/app:2: it is not in tools.tar, nor in docker, nor in",
		"UPPER":           "\"UPPER\" is not the name of an image",
		"-f missing.yaml": "kl: read missing.yaml: no such file or directory",
		"-f bad.yaml":     "kl: find images: bad.yaml is not YAML: ",
		"-f empty":        "the directory has no file that ends in .yaml",
		"-f none.yaml":    "the manifests need no images",
		"cut.tar":         "kl: read cut.tar: not a docker-archive or OCI tar, or cut off",
		"damaged.tar":     "kl: read damaged.tar: it is damaged: the content of blobs/sha256/",
		"text":            "kl: read text: not a docker-archive",
		"127.0.0.1:1/app:1@sha256:" + strings.Repeat("a", 64): "it is not in docker",
	} {
		_, stderr, code := m.run(append([]string{"bundle", "create", "-o", "b.tar.zst"}, strings.Fields(args)...)...)
		if code != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, stderr, want)
		}
		checkOneLine(t, stderr)
	}
	for args, want := range map[string]string{
		"-o empty tools.tar":             "is a directory, not a regular file",
		"-o missing/b.tar.zst tools.tar": "write missing/b.tar.zst: no such file",
		"tools.tar":                      "want the file to write with -o",
		"-o b.tar.zst":                   "want images, archives, or manifests",
	} {
		if _, stderr, code := m.run(append([]string{"bundle", "create"}, strings.Fields(args)...)...); code == exitOK || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q", args, code, stderr)
		}
	}
	for file, want := range map[string]string{"missing": "read missing: file does not exist", "text": "read text: not a docker-archive", "cut.tar": "cut off"} {
		if _, stderr, code := m.run("bundle", "ls", file); code != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("ls %s: exit code %d, %q", file, code, stderr)
		}
	}
	if data, err := os.ReadFile("b.tar.zst"); err != nil || string(data) != "old" {
		t.Errorf("the file that was there is %q, %v", data, err)
	}
	if left, _ := filepath.Glob(".kl-*"); left != nil {
		t.Errorf("left: %q", left)
	}
}
