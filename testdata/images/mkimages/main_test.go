package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// fakeBusybox writes a program that lists applets as busybox does.
func fakeBusybox(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "busybox")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nprintf 'busybox\\nls\\nsh\\n'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// files returns the headers of the files in an image.
func files(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	content := mutate.Extract(img)
	defer content.Close()
	found := map[string]*tar.Header{}
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = h
	}
}

func TestImages(t *testing.T) {
	out, busybox := t.TempDir(), fakeBusybox(t)
	if err := run(t.Context(), out, busybox, "../app"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ archive, tag, program, link string }{
		{"busybox.tar", "kl.test/busybox:1", "bin/busybox", "bin/ls"},
		{"app.tar", "kl.test/app:1", "bin/app", ""},
		{"two.tar", "kl.test/one:1", "bin/busybox", "bin/sh"},
		{"two.tar", "kl.test/two:1", "bin/app", ""},
	} {
		t.Run(tt.archive+" "+tt.tag, func(t *testing.T) {
			tag, err := name.NewTag(tt.tag)
			if err != nil {
				t.Fatal(err)
			}
			img, err := tarball.ImageFromPath(filepath.Join(out, tt.archive), &tag)
			if err != nil {
				t.Fatal(err)
			}
			found := files(t, img)
			if h := found[tt.program]; h == nil || h.Mode != 0o755 || h.Size == 0 {
				t.Errorf("%s is %+v", tt.program, h)
			}
			if h := found[tt.link]; tt.link != "" && (h == nil || h.Linkname != "busybox") {
				t.Errorf("%s is %+v, want a link to busybox", tt.link, h)
			}
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if config.OS != "linux" || config.Architecture == "" || !slices.Contains(config.Config.Env, "PATH=/bin") {
				t.Errorf("configuration is %+v", config)
			}
		})
	}
}

// The OCI layout has the tag in the annotations that containerd and others read.
func TestOCI(t *testing.T) {
	img, err := image([]file{{name: "bin/app", data: []byte("ELF"), mode: 0o755}}, v1.Config{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "oci.tar")
	if err := writeOCI(path, "kl.test/app-oci:1", img); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("find index.json: %v", err)
		}
		if h.Name != "index.json" {
			continue
		}
		var index v1.IndexManifest
		if err := json.NewDecoder(r).Decode(&index); err != nil {
			t.Fatal(err)
		}
		for _, annotation := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
			if len(index.Manifests) != 1 || index.Manifests[0].Annotations[annotation] != "kl.test/app-oci:1" {
				t.Errorf("index is %+v, want %s", index, annotation)
			}
		}
		return
	}
}

// The same content gives the same archive, so that loading an image again changes nothing.
func TestReproducible(t *testing.T) {
	busybox := fakeBusybox(t)
	var archives [2][]byte
	for i := range archives {
		img, err := busyboxImage(t.Context(), busybox)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "busybox.tar")
		if err := writeDocker(path, map[string]v1.Image{"kl.test/busybox:1": img}); err != nil {
			t.Fatal(err)
		}
		if archives[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two archives of the same image differ")
	}
}

// A program that is linked with libraries is packed with them and the loader.
func TestDynamic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sh.tar")
	if err := writeDynamic(t.Context(), path, "kl.test/sh:1", "/bin/sh"); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	found := files(t, img)
	libc := false
	for name := range found {
		base := filepath.Base(name)
		libc = libc || base == "libc.so.6" || len(base) > 8 && base[:8] == "ld-musl-"
	}
	if found["bin/sh"] == nil || !libc {
		t.Errorf("the image has %v, want bin/sh and the C library", found)
	}
	if err := writeDynamic(t.Context(), path, "kl.test/none:1", "/none"); err == nil {
		t.Error("writeDynamic of a missing program succeeded")
	}
}
