package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNewest(t *testing.T) {
	const all = "v1.35.4 v1.36.3 v1.36.10 v1.37.2 v1.38.0-beta.0 v2.0.0 v1.36.11-0.20260101000000-abcdefabcdef bad"
	for _, tt := range []struct {
		name    string
		current string
		line    line
		minor   string
		want    string
	}{
		{"patches are compared as numbers", "v1.36.3", patches, "", "v1.36.10"},
		{"no pre-release and no other major version", "v1.36.3", minors, "", "v1.37.2"},
		{"nothing older", "v1.37.5", minors, "", "v1.37.5"},
		{"nothing newer", "v1.37.2", patches, "", "v1.37.2"},
		{"the minor version that Kubernetes names", "v1.35.4", named, "v1.36", "v1.36.10"},
		{"not past the minor version that Kubernetes names", "v1.36.10", named, "v1.36", "v1.36.10"},
		{"not back to the minor version that Kubernetes names", "v1.37.2", named, "v1.36", "v1.37.2"},
		{"no later than Kubernetes", "v1.35.4", aligned, "v1.36", "v1.36.10"},
		{"none but the one in use", "v1.36.3", held, "", "v1.36.3"},
		{"earlier than Kubernetes, as cri-tools at times", "v1.35.0", aligned, "v1.40", "v1.37.2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := newest(tt.current, tt.line, tt.minor, strings.Fields(all)); got != tt.want {
				t.Errorf("newest = %s, want %s", got, tt.want)
			}
		})
	}
}

const goMod = `module example.com/kl

go 1.26.8

require (
	github.com/containerd/containerd/v2 v2.3.7
	github.com/google/cadvisor/lib v0.60.5
	github.com/held/back v1.0.0
	go.etcd.io/etcd/server/v3 v3.6.16
	k8s.io/api v0.36.3
	k8s.io/kubernetes v1.36.3
	k8s.io/utils v0.0.0-20260626114624-be93311217bd
	sigs.k8s.io/cri-tools v1.36.0
)

require (
	github.com/opencontainers/runc v1.5.2 // indirect
	github.com/other/indirect v1.0.0 // indirect
	k8s.io/mount-utils v0.0.0 // indirect
	k8s.io/streaming v0.36.3 // indirect
)

replace (
	github.com/held/back => github.com/held/back v1.0.0
	k8s.io/api => k8s.io/api v0.36.3
	k8s.io/mount-utils => k8s.io/mount-utils v0.36.3
)

tool github.com/opencontainers/runc
`

const kubernetesMod = `module k8s.io/kubernetes

require (
	github.com/google/cadvisor/lib v0.60.5
	go.etcd.io/etcd/server/v3 v3.7.0 // indirect
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/mount-utils => ./staging/src/k8s.io/mount-utils
	k8s.io/streaming => ./staging/src/k8s.io/streaming
)
`

// fakeTree is a tree with goMod and a proxy that has these releases. Commands that are run are recorded; those that begin with
// fails fail.
func fakeTree(t *testing.T, fails string) (tree, *bytes.Buffer, *[]string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"go.mod": goMod, "go.sum": "sums\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	proxy := map[string]string{
		"github.com/containerd/containerd/v2": "v2.3.7 v2.3.8 v2.4.2",
		"github.com/google/cadvisor/lib":      "v0.60.5 v0.60.6 v0.61.0",
		"github.com/opencontainers/runc":      "v1.5.2 v1.5.3 v1.6.0-rc.1",
		"go.etcd.io/etcd/server/v3":           "v3.6.16 v3.7.0 v3.7.3 v3.8.0",
		"k8s.io/kubernetes":                   "v1.36.3 v1.37.2 v1.38.0-beta.0",
		"sigs.k8s.io/cri-tools":               "v1.34.0 v1.37.0 v1.38.0",
	}
	var out bytes.Buffer
	ran := &[]string{}
	return tree{
		dir: dir, out: &out,
		versions: func(_ context.Context, module string) ([]string, error) {
			if proxy[module] == "" {
				return nil, fmt.Errorf("asked for %s", module)
			}
			return strings.Fields(proxy[module]), nil
		},
		requires: func(context.Context, string, string) ([]byte, error) { return []byte(kubernetesMod), nil },
		run: func(_ context.Context, dir, program string, args ...string) error {
			command := strings.Join(append([]string{program}, args...), " ")
			*ran = append(*ran, command)
			if fails != "" && strings.HasPrefix(command, fails) {
				return errors.Join(errors.New(command+" failed"), os.WriteFile(filepath.Join(dir, "go.sum"), []byte("other\n"), 0o644))
			}
			return nil
		},
	}, &out, ran
}

func read(t *testing.T, tr tree, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(tr.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestBump(t *testing.T) {
	tr, out, ran := fakeTree(t, "")
	if err := tr.bump(t.Context(), false, []string{"build", "test"}); err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer(
		"containerd/v2 v2.3.7", "containerd/v2 v2.3.8", "cadvisor/lib v0.60.5", "cadvisor/lib v0.60.6", "server/v3 v3.6.16", "server/v3 v3.7.3",
		"v0.36.3", "v0.37.2", "v1.36.3", "v1.37.2", "cri-tools v1.36.0", "cri-tools v1.37.0", "runc v1.5.2", "runc v1.5.3",
	).Replace(goMod)
	if diff := cmp.Diff(want, read(t, tr, "go.mod")); diff != "" {
		t.Errorf("go.mod:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"go mod tidy", "make build", "make test"}, *ran); diff != "" {
		t.Errorf("commands:\n%s", diff)
	}
	for _, line := range []string{"  k8s.io/kubernetes                    v1.36.3 → v1.37.2\n", "  k8s.io/mount-utils                   v0.36.3 → v0.37.2\n"} {
		if _, changed, _ := strings.Cut(out.String(), "changed:\n"); !strings.Contains(changed, line) {
			t.Errorf("output lacks %q:\n%s", line, out)
		}
	}

	*ran = nil
	out.Reset()
	if err := tr.bump(t.Context(), false, []string{"build"}); err != nil || len(*ran) != 0 || !strings.HasPrefix(out.String(), "nothing newer") {
		t.Errorf("second run: err %v, ran %v, said %q", err, *ran, out)
	}
}

func TestBumpOnlySays(t *testing.T) {
	tr, out, ran := fakeTree(t, "")
	if err := tr.bump(t.Context(), true, []string{"build"}); err != nil {
		t.Fatal(err)
	}
	if read(t, tr, "go.mod") != goMod || len(*ran) != 0 || !strings.Contains(out.String(), "v1.36.3 → v1.37.2") {
		t.Errorf("ran %v, said %q, go.mod:\n%s", *ran, out, read(t, tr, "go.mod"))
	}
}

// TestBumpThatDoesNotFit leaves go.mod and go.sum as they were.
func TestBumpThatDoesNotFit(t *testing.T) {
	tr, _, ran := fakeTree(t, "go mod tidy")
	err := tr.bump(t.Context(), false, []string{"build"})
	if err == nil || !strings.Contains(err.Error(), "as before") {
		t.Errorf("error = %v", err)
	}
	if read(t, tr, "go.mod") != goMod || read(t, tr, "go.sum") != "sums\n" || len(*ran) != 1 {
		t.Errorf("ran %v, go.mod:\n%s", *ran, read(t, tr, "go.mod"))
	}
}

// TestBumpThatFailsItsTests keeps the change, says what it was, and runs nothing after what failed.
func TestBumpThatFailsItsTests(t *testing.T) {
	tr, out, ran := fakeTree(t, "make build")
	err := tr.bump(t.Context(), false, []string{"build", "test"})
	if err == nil || !strings.HasPrefix(err.Error(), "make build fails") {
		t.Errorf("error = %v", err)
	}
	if read(t, tr, "go.mod") == goMod || len(*ran) != 2 || !strings.Contains(out.String(), "changed:") {
		t.Errorf("ran %v, said %q", *ran, out)
	}
}

func TestBumpOfARefusedModule(t *testing.T) {
	tr, _, _ := fakeTree(t, "")
	tr.versions = func(_ context.Context, module string) ([]string, error) {
		return nil, fmt.Errorf("%s: 403 Forbidden", module)
	}
	if err := tr.bump(t.Context(), false, nil); err == nil || err.Error() != "k8s.io/kubernetes: 403 Forbidden" {
		t.Errorf("error = %v", err)
	}
}
