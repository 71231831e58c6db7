package critest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestRegistry(t *testing.T) {
	r := newRegistry()
	layer := []byte("a layer")
	for n, name := range []string{"a/one:1", "a/two:1"} {
		image := v1.Image{Config: v1.ImageConfig{User: string(rune('a' + n))}}
		if err := r.add(image, [][]byte{layer}, name, name+"-same"); err != nil {
			t.Fatal(err)
		}
	}
	addr, stop, err := r.serve()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	get := func(path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	_, one := get("/v2/a/one/manifests/1?ns=registry.k8s.io")
	_, same := get("/v2/a/one/manifests/1-same")
	_, two := get("/v2/a/two/manifests/1")
	if one != same || one == two {
		t.Errorf("names of one image: same %v; of two images: same %v", one == same, one == two)
	}
	var m v1.Manifest
	if err := json.Unmarshal([]byte(one), &m); err != nil {
		t.Fatal(err)
	}
	if _, b := get("/v2/a/one/blobs/" + string(m.Layers[0].Digest)); b != string(layer) {
		t.Errorf("layer %q", b)
	}
	for _, path := range []string{"/v2/a/none/manifests/1", "/v2/a/one/blobs/sha256:0", "/other"} {
		if code, _ := get(path); code != http.StatusNotFound {
			t.Errorf("%s: status %d", path, code)
		}
	}
}

func TestUseRegistryDir(t *testing.T) {
	got, err := useRegistryDir("a = 1\n    config_path = \"/etc/certs\"\nb = 2\n", "/run/certs")
	if want := "a = 1\n    config_path = \"/run/certs\"\nb = 2\n"; err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, config := range []string{"", "config_path = 1\nconfig_path = 2\n"} {
		if _, err := useRegistryDir(config, "/x"); err == nil {
			t.Errorf("%q is accepted", config)
		}
	}
}

// TestBaseLayer checks that commands are files of their own, which can be masked, and that the suite's tools come before busybox's.
func TestBaseLayer(t *testing.T) {
	root := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(root, "usr/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	// A static program will do; the test itself is not one under the race detector.
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "busybox"), source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"ls", "ping"} {
		if err := os.Symlink("busybox", filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := baseLayer(root, self)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*tar.Header{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = h
	}
	if h := found["bin/ls"]; h == nil || h.Typeflag != tar.TypeLink || h.Linkname != "bin/busybox" {
		t.Errorf("ls: %+v", h)
	}
	if h := found["bin/ping"]; h == nil || h.Linkname != "kl-critest" {
		t.Errorf("ping: %+v", h)
	}
	if h := found["tmp/"]; h == nil || h.Mode != 0o1777 {
		t.Errorf("/tmp: %+v", h)
	}
}

func TestApplets(t *testing.T) {
	var out strings.Builder
	if ran, _ := Applet([]string{"/usr/local/bin/kl-critest"}, &out); ran {
		t.Error("the program itself is taken for an applet")
	}
	for name, args := range map[string][]string{"nginx": nil, "brctl": {"show"}, "ipcmk": {"-M"}, "ping": nil} {
		if ran, err := Applet(append([]string{"/bin/" + name}, args...), &out); !ran || err == nil {
			t.Errorf("%s %v: ran %v, error %v", name, args, ran, err)
		}
	}
	if ran, err := Applet([]string{"pgrep", "no-such-process"}, &out); !ran || !errors.Is(err, ExitError(1)) || out.Len() > 0 {
		t.Errorf("pgrep: ran %v, error %v, %q", ran, err, out.String())
	}
}

func TestSkips(t *testing.T) {
	if skipReason("Image Manager public image with digest should be pulled and removed [Conformance]") == "" {
		t.Error("the spec that needs the public registry is not skipped")
	}
	if reason := skipReason("Container runtime should support starting container"); reason != "" {
		t.Errorf("a spec is skipped: %s", reason)
	}
}

func TestSelects(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want bool
	}{
		{Options{}, true},
		{Options{Focus: []string{"no", "^a"}}, true},
		{Options{Focus: []string{"no"}}, false},
		{Options{Skip: []string{"name$"}}, false},
		{Options{Focus: []string{"a"}, Skip: []string{"no"}}, true},
	} {
		if got := tt.o.selects("a name"); got != tt.want {
			t.Errorf("%+v: %v", tt.o, got)
		}
	}
}
