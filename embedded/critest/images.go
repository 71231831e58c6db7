package critest

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	e2eImages   = "e2e-test-images/"
	toolsImages = "k8s-staging-cri-tools/"
	imagePath   = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	program     = "bin/kl-critest" // this program, in images
)

// addImages makes the images of the suite, from the root file system of a node, and from self, the path of this program.
func addImages(r *registry, root, self string) error {
	base, err := baseLayer(root, self)
	if err != nil {
		return err
	}
	escalate, err := escalateLayer(self)
	if err != nil {
		return err
	}
	for _, i := range suiteImages() {
		layers := [][]byte{base}
		if i.escalate {
			layers = append(layers, escalate)
		}
		for n, name := range i.names {
			image := v1.Image{Platform: v1.Platform{Architecture: runtime.GOARCH, OS: "linux"}, Config: i.config}
			image.Config.Env = []string{imagePath}
			image.Config.Labels = map[string]string{"kl.local/image": i.names[0]}
			if i.distinct {
				image.Config.Labels["kl.local/image"] = i.names[n]
			}
			if err := r.add(image, layers, name); err != nil {
				return err
			}
		}
	}
	return addPause(r, filepath.Join(root, "kl/images/pause.tar"))
}

// suiteImage is an image of the suite, by all its names.
type suiteImage struct {
	names    []string
	distinct bool // the names are those of different images
	escalate bool // has the program that says who it runs as, setuid root
	config   v1.ImageConfig
}

// suiteImages are the images that the suite asks for, as sigs.k8s.io/cri-tools/images makes them.
func suiteImages() []suiteImage {
	shell := []string{"sh"}
	server := func(args ...string) v1.ImageConfig { return v1.ImageConfig{Entrypoint: args} }
	user := func(u string) v1.ImageConfig { return v1.ImageConfig{User: u, Cmd: shell} }
	return []suiteImage{
		{names: []string{e2eImages + "busybox:1.29-2"}, config: v1.ImageConfig{Cmd: shell}},
		{names: []string{e2eImages + "nginx:1.14-2"}, config: server("nginx", "80", "master process")},
		{names: []string{toolsImages + "hostnet-nginx-" + runtime.GOARCH + ":latest"}, config: server("nginx", "12003", "master process")},
		{names: []string{e2eImages + "httpd:2.4.39-4"}, config: server("httpd", "80")},
		{names: []string{e2eImages + "nonewprivs:1.3"}, escalate: true, config: server("/nonewprivs")},
		{names: []string{toolsImages + "test-image-user-uid:latest"}, config: user("1002")},
		{names: []string{toolsImages + "test-image-user-username:latest"}, config: user("www-data")},
		{names: []string{toolsImages + "test-image-user-uid-group:latest"}, config: user("1003:1003")},
		{names: []string{toolsImages + "test-image-user-username-group:latest"}, config: user("www-data:100")},
		{names: []string{toolsImages + "test-image-predefined-group:latest"}, config: user("1000")},
		{names: []string{toolsImages + "test-image-latest:latest"}, config: v1.ImageConfig{Cmd: shell}},
		{names: []string{toolsImages + "test-image-tag:test"}, config: v1.ImageConfig{Cmd: shell}},
		{names: []string{toolsImages + "test-image-tag:all"}, config: v1.ImageConfig{Cmd: shell}},
		{distinct: true, config: v1.ImageConfig{Cmd: shell},
			names: []string{toolsImages + "test-image-1:latest", toolsImages + "test-image-2:latest", toolsImages + "test-image-3:latest"}},
		{config: v1.ImageConfig{Cmd: shell},
			names: []string{toolsImages + "test-image-tags:1", toolsImages + "test-image-tags:2", toolsImages + "test-image-tags:3"}},
	}
}

// layer is a tar under construction. The first error is kept.
type layer struct {
	buf bytes.Buffer
	tar *tar.Writer
	err error
}

func newLayer() *layer {
	l := &layer{}
	l.tar = tar.NewWriter(&l.buf)
	return l
}

func (l *layer) add(h tar.Header, data []byte) {
	if l.err != nil {
		return
	}
	h.Size = int64(len(data))
	if l.err = l.tar.WriteHeader(&h); l.err == nil {
		_, l.err = l.tar.Write(data)
	}
}

func (l *layer) dir(name string, mode int64) {
	l.add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (l *layer) file(name string, mode int64, data []byte) {
	l.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, data)
}

func (l *layer) bytes() ([]byte, error) {
	return l.buf.Bytes(), errors.Join(l.err, l.tar.Close())
}

// baseLayer is the node's busybox with its libraries and commands, this program with its applets, and a few users.
func baseLayer(root, self string) ([]byte, error) {
	l := newLayer()
	for _, d := range []string{"bin", "etc", "root", "home", "var", "var/run", "proc", "sys", "dev", "mnt", "run", "lib", "lib64", "usr", "usr/bin"} {
		l.dir(d, 0o755)
	}
	l.dir("tmp", 0o1777)
	l.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/:/bin/sh\n"+
		"default-user:x:1000:1000::/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"))
	l.file("etc/group", 0o644, []byte("root:x:0:\nwww-data:x:33:\nusers:x:100:\ndefault-user:x:1000:\n"+
		"group-defined-in-image:x:50000:default-user\nnogroup:x:65534:\n"))
	busybox, err := os.ReadFile(filepath.Join(root, "usr/bin/busybox"))
	if err != nil {
		return nil, err
	}
	l.file("bin/busybox", 0o755, busybox)
	if err := addLibraries(l, root, "usr/bin/busybox", map[string]bool{}); err != nil {
		return nil, fmt.Errorf("find libraries of busybox: %w", err)
	}
	entries, err := os.ReadDir(filepath.Join(root, "usr/bin"))
	if err != nil {
		return nil, err
	}
	own := applets()
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(root, "usr/bin", e.Name()))
		if _, ok := own[e.Name()]; err != nil || ok || path.Base(target) != "busybox" {
			continue
		}
		// Not a symbolic link: a spec masks the file of one command, which must not be that of all.
		l.add(tar.Header{Typeflag: tar.TypeLink, Name: "bin/" + e.Name(), Linkname: "bin/busybox", Mode: 0o755}, nil)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		return nil, err
	}
	l.file(program, 0o755, b)
	for name := range own {
		l.add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: path.Base(program), Mode: 0o777}, nil)
	}
	return l.bytes()
}

func escalateLayer(self string) ([]byte, error) {
	b, err := os.ReadFile(self)
	if err != nil {
		return nil, err
	}
	l := newLayer()
	l.file("nonewprivs", 0o4755, b)
	return l.bytes()
}

// addLibraries adds the loader and the libraries that a program of a node is linked with; a static one has none.
func addLibraries(l *layer, root, file string, done map[string]bool) error {
	f, err := elf.Open(filepath.Join(root, file))
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b, err := io.ReadAll(p.Open())
		if err != nil {
			return err
		}
		if err := addLibrary(l, root, strings.Trim(string(b), "/\x00"), done); err != nil {
			return err
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range needed {
		if strings.HasPrefix(name, "ld-linux") { // where the program says
			continue
		}
		found, err := filepath.Glob(filepath.Join(root, "lib/*-linux-gnu", name))
		if err != nil || len(found) == 0 {
			return fmt.Errorf("find %s: %w", name, errors.Join(err, os.ErrNotExist))
		}
		relative, err := filepath.Rel(root, found[0])
		if err != nil {
			return err
		}
		if err := addLibrary(l, root, relative, done); err != nil {
			return err
		}
	}
	return nil
}

func addLibrary(l *layer, root, file string, done map[string]bool) error {
	if done[file] {
		return nil
	}
	done[file] = true
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return err
	}
	l.file(file, 0o755, b)
	return addLibraries(l, root, file, done)
}

// addPause adds the node's image of sandboxes under the name that containerd knows it by, and the one that the suite does.
func addPause(r *registry, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	files := map[string][]byte{}
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", archive, err)
		}
		if files[h.Name], err = io.ReadAll(t); err != nil {
			return fmt.Errorf("read %s: %w", archive, err)
		}
	}
	var index []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &index); err != nil || len(index) != 1 {
		return fmt.Errorf("read %s: want one image: %w", archive, err)
	}
	var image v1.Image
	if err := json.Unmarshal(files[index[0].Config], &image); err != nil {
		return fmt.Errorf("read %s: %w", archive, err)
	}
	var layers [][]byte
	for _, name := range index[0].Layers {
		layers = append(layers, files[name])
	}
	if err := r.add(image, layers, "pause:1"); err != nil {
		return err
	}
	image.Config.Labels = map[string]string{"kl.local/image": "pause:3.9"} // another image: a spec removes it, and counts its names
	return r.add(image, layers, "pause:3.9")
}
