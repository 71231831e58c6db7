package cmd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/klkube/kl/cluster/clustertest"
)

// archives are files that are no archives of images, by construction, and what was done to them.
type archives map[string]string

// TestBadArchives loads archives that are wrong by construction. Each is answered by a line that names the file, and nothing is
// sent to the node.
func TestBadArchives(t *testing.T) {
	bad := archives{}
	docker, oci := clustertest.DockerArchive("app:1"), clustertest.OCIArchive("docker.io/library/app:1")
	both := append(oci[:len(oci):len(oci)], docker...)
	for _, valid := range [][]clustertest.TarEntry{docker, oci, both} {
		bad.headers(valid)
		bad.strangers(valid)
		bad.compressed(t, clustertest.Tar(valid...))
	}
	bad.cutOff(docker)
	bad.cutOff(oci)
	bad.indexes(docker, oci)
	bad.parts(docker, oci)
	for _, text := range []string{"", "hello\n", "\x1f\x8b", "\x28\xb5\x2f\xfd", "\x1f\x8bgarbage", "\x28\xb5\x2f\xfdgarbage", "BZh91AY", "\xfd7zXZ\x00", "PK\x03\x04", "{}", "[]", strings.Repeat("\x00", 10240), strings.Repeat("\xff", 4096)} {
		bad[text] = fmt.Sprintf("%.20q", text)
	}
	if len(bad) < 400 {
		t.Errorf("the corpus has %d archives, want 400", len(bad))
	}
	t.Setenv("TMPDIR", t.TempDir())
	m := withCluster(t)
	dir := t.TempDir()
	n := 0
	for content, what := range bad {
		n++
		path := filepath.Join(dir, fmt.Sprintf("bad-%d.tar", n))
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		m.answer(what, path, "", []int{exitFailed}, "image", "load", path)
		if n%7 == 0 { // the other way in
			m.answer(what+" on standard input", "standard input", content, []int{exitFailed}, "image", "load", "-")
		}
		os.Remove(path)
	}
	if _, err := os.Stat(filepath.Join(m.env.Home.Cluster("kl").NodeDir("n1"), clustertest.PostedFile)); err == nil {
		t.Error("something was sent to the node")
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "kl-image-*")); len(left) > 0 {
		t.Errorf("temporary files are left: %q", left)
	}
	t.Logf("%d archives", len(bad))
}

// cutOff ends an archive early, in headers and in content, but not within what pads it.
func (a archives) cutOff(valid []clustertest.TarEntry) {
	data := clustertest.Tar(valid...)
	end := len(clustertest.Tar(valid...)) - 2*512 // two blocks of zeros
	end -= (512 - len(valid[len(valid)-1].Data)%512) % 512
	for n := 0; n < end; n += 512 {
		a[string(data[:n])] = fmt.Sprintf("cut off after %d bytes", n)
		a[string(data[:min(n+257, end-1)])] = fmt.Sprintf("cut off after %d bytes", n+257)
	}
	a[string(data[:end-1])] = "cut off by one byte"
}

// headers spoils the header of each entry: its checksum is wrong then.
func (a archives) headers(valid []clustertest.TarEntry) {
	for i := range valid {
		for _, at := range []int{0, 100, 124, 130, 136, 148, 156, 157, 257, 263, 329, 345} { // name, mode, size, …: see tar(5)
			data := clustertest.Tar(valid...)
			offset := len(clustertest.Tar(valid[:i]...)) - 2*512
			data[offset+at] ^= 0x41
			a[string(data)] = fmt.Sprintf("byte %d of the header of %s flipped", at, valid[i].Name)
		}
	}
}

// strangers adds entries that an archive of images does not have.
func (a archives) strangers(valid []clustertest.TarEntry) {
	for what, h := range map[string]tar.Header{
		"an absolute name":     {Name: "/etc/passwd"},
		"a name above":         {Name: "../evil"},
		"a name far above":     {Name: "a/../../../evil"},
		"two dots":             {Name: ".."},
		"a link out":           {Name: "x/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../../etc/passwd"},
		"an absolute link":     {Name: "x/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		"a hard link out":      {Name: "x/layer.tar", Typeflag: tar.TypeLink, Linkname: "../etc/passwd"},
		"an absolute one":      {Name: "x/layer.tar", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"},
		"a character device":   {Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		"a block device":       {Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8},
		"a pipe":               {Name: "pipe", Typeflag: tar.TypeFifo},
		"an unknown kind":      {Name: "odd", Typeflag: 'Z'},
		"control characters":   {Name: "/\x1b[31m\r\n\u202e"},
		"a long name":          {Name: "../" + strings.Repeat("x", 70_000)},
		"a size of a terabyte": {Name: "huge", Size: 1 << 40},
		"all sizes":            {Name: "huger", Size: 1<<63 - 1},
	} {
		first := append([]clustertest.TarEntry{{Header: h}}, valid...)
		a[string(clustertest.Tar(first...))] = what + ", first"
		if h.Size == 0 {
			a[string(clustertest.Tar(append(valid[:len(valid):len(valid)], clustertest.TarEntry{Header: h})...))] = what + ", last"
		}
	}
}

// compressed spoils the compression of an archive.
func (a archives) compressed(t *testing.T, data []byte) {
	t.Helper()
	var gz, zs bytes.Buffer
	gw := gzip.NewWriter(&gz)
	zw, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{gw, zw} {
		_, werr := w.Write(data)
		if err := errors.Join(werr, w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for kind, packed := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		for i := 1; i < 16; i++ {
			n := len(packed) * i / 20 // what is at the end may not be needed
			a[string(packed[:n])] = fmt.Sprintf("%s cut off after %d bytes", kind, n)
			spoiled := bytes.Clone(packed)
			for j := n; j < n+8; j++ {
				spoiled[j] ^= 0xff
			}
			a[string(spoiled)] = fmt.Sprintf("%s spoiled at byte %d", kind, n)
		}
	}
	a[string(append([]byte{0x1f, 0x8b}, data...))] = "gzip's magic before a tar"
	a[string(append([]byte{0x28, 0xb5, 0x2f, 0xfd}, data...))] = "zstd's magic before a tar"
}

// indexes replaces the JSON that says which images an archive has.
func (a archives) indexes(docker, oci []clustertest.TarEntry) {
	put := func(valid []clustertest.TarEntry, name, text string) {
		changed := append([]clustertest.TarEntry{}, valid...)
		for i := range changed {
			if changed[i].Name == name {
				changed[i].Data = text
			}
		}
		a[string(clustertest.Tar(changed...))] = fmt.Sprintf("%s is %.80q", name, text)
	}
	manifest, index := docker[len(docker)-1].Data, oci[len(oci)-1].Data
	for valid, list := range map[*[]clustertest.TarEntry]string{&docker: "manifest.json", &oci: "index.json"} {
		text := (*valid)[len(*valid)-1].Data
		for n := 0; n < len(text); n += 3 {
			put(*valid, list, text[:n])
		}
		for _, odd := range []string{
			"null", "true", "7", `"x"`, "hello", "\x00", "\xef\xbb\xbf" + text, "[[[[", strings.Repeat("[", 20_000), "{}", "[]", "[null]", "[7]", `["x"]`, "[[]]", "[{}]",
			text + "x", text + text, "{", `{"a":}`, `{"manifests":7}`, `{"manifests":"x"}`, `{"manifests":{}}`, `{"manifests":[7]}`, `{"manifests":["x"]}`, `{"manifests":[[]]}`,
			`{"manifests":[{"digest":7}]}`, `{"manifests":[{"digest":{}}]}`, `{"manifests":[{"annotations":[]}]}`, `{"manifests":[null]}`, `{"manifests":null}`,
			strings.Repeat(" ", 9<<20) + text,
		} {
			put(*valid, list, odd)
		}
	}
	for _, value := range []string{"7", "{}", "[]", "null", "true", `""`, `"no/such.json"`, `"../x"`, `"/etc/passwd"`, `"\u0000"`, `"\u001b[31m"`} {
		put(docker, "manifest.json", `[{"Config":`+value+`,"RepoTags":["app:1"],"Layers":[]}]`)
		if value != "null" && value != "[]" {
			put(docker, "manifest.json", strings.Replace(manifest, `"Layers":[`, `"Layers":[`+value+`,`, 1))
			put(docker, "manifest.json", strings.Replace(manifest, `["app:1"]`, value, 1))
		}
	}
	for _, name := range oddImageNames {
		put(docker, "manifest.json", strings.Replace(manifest, `["app:1"]`, `["app:1",`+name+`]`, 1))
		if name != `""` && name != "null" {
			put(oci, "index.json", strings.Replace(index, `"docker.io/library/app:1"`, name, 1))
		}
	}
	for _, d := range []string{"", "sha256", "sha256:", "sha256:zz", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:" + strings.Repeat("0", 64), "sha512:" + strings.Repeat("0", 128), "sha256:" + strings.Repeat("A", 64), "../../etc/passwd", strings.Repeat("x", 100_000)} {
		put(oci, "index.json", `{"manifests":[{"digest":"`+d+`"}]}`)
	}
	for _, layout := range []string{"", "{", "null", "7", "[]", "{}", `{"imageLayoutVersion":7}`, `{"imageLayoutVersion":""}`, `{"imageLayoutVersion":"2.0.0"}`, `{"imageLayoutVersion":"\u001b[2J"}`} {
		put(oci, "oci-layout", layout)
	}
}

var oddImageNames = []string{
	`""`, "null", "7", "{}", "[]", `"UPPER"`, `"a b"`, `"a:b:c"`, `"\u001b[31m"`, `"../x"`, `"app:"`, `":1"`, `"app@sha256:1"`, `"app@"`, `"名前"`, `"app:\u202e1"`, `"a//b"`, `"-a"`,
	`"` + strings.Repeat("x", 300) + `"`, `"app:` + strings.Repeat("x", 200) + `"`, `"http://app:1"`,
}

// parts takes away, or spoils, what the indexes name.
func (a archives) parts(docker, oci []clustertest.TarEntry) {
	for _, valid := range [][]clustertest.TarEntry{docker, oci} {
		for i, e := range valid {
			if e.Name == valid[len(valid)-1].Name || strings.HasPrefix(e.Name, "blobs/") && !strings.Contains(valid[len(valid)-1].Data, filepath.Base(e.Name)) {
				continue // the index itself, and blobs that only a node can miss
			}
			without := append(append([]clustertest.TarEntry{}, valid[:i]...), valid[i+1:]...)
			a[string(clustertest.Tar(without...))] = "without " + e.Name
		}
	}
	for i, e := range oci {
		if strings.HasPrefix(e.Name, "blobs/") {
			for _, text := range []string{"", "{}", e.Data + " ", "x" + e.Data[1:]} {
				spoiled := append([]clustertest.TarEntry{}, oci...)
				spoiled[i].Data = text
				a[string(clustertest.Tar(spoiled...))] = fmt.Sprintf("%s is %.20q", e.Name, text)
			}
		}
	}
	a[string(clustertest.Tar(oci[:len(oci)-1]...))] = "a layout without index.json"
	a[string(clustertest.Tar(oci[1:]...))] = "an index without oci-layout"
	a[string(clustertest.Tar(clustertest.File("README", "hello")))] = "another tar"
	a[string(clustertest.Tar())] = "an empty tar"
}

// endless is standard input that never ends.
type endless struct{ random bool }

func (e endless) Read(p []byte) (int, error) {
	if e.random {
		return rand.Read(p)
	}
	clear(p)
	return len(p), nil
}

// TestArchivesThatAreNoFiles loads what is no regular file, and streams without an end.
func TestArchivesThatAreNoFiles(t *testing.T) {
	m := withCluster(t)
	for what, path := range oddFiles(t) {
		m.answer(what, path, "", []int{exitFailed}, "image", "load", path)
	}
	for _, random := range []bool{false, true} {
		m.stdin = endless{random}
		m.answer(fmt.Sprintf("endless, random is %v", random), "standard input", "", []int{exitFailed}, "image", "load", "-")
	}
	m.stdin = nil
	for _, name := range []string{"", " ", "a b", "UPPER", "\x1b[31m", "名前", "-", "../..", strings.Repeat("x", 5000), "app:\x00"} {
		m.answer(fmt.Sprintf("image %.20q", name), "", "", []int{exitFailed, exitUsage}, "image", "load", "--", name)
	}
}

// oddFiles makes what has a path and is no regular file, by what it is.
func oddFiles(t *testing.T) map[string]string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kl") //nolint:usetesting // sockets need a shorter path than t.TempDir gives
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	odd := map[string]string{}
	for what, made := range oddKinds() {
		path := filepath.Join(dir, strings.ReplaceAll(what, " ", "-"))
		if err := made(path); errors.Is(err, syscall.EPERM) {
			t.Logf("SKIPPED: %s: only root makes that", what)
		} else if err != nil {
			t.Fatalf("%s: %v", what, err)
		} else {
			odd[what] = path
		}
	}
	return odd
}

// oddKinds are what can be in the place of a file. Devices are copies: the machine's own are left alone.
func oddKinds() map[string]func(path string) error {
	device := func(minor int) func(string) error {
		return func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|minor) }
	}
	return map[string]func(path string) error{
		"directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
		"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"null":      device(3), "zero": device(5),
		"link to itself": func(path string) error { return os.Symlink(path, path) },
		"dangling link":  func(path string) error { return os.Symlink("/nonexistent/file", path) },
		"link to a pipe": func(path string) error {
			return errors.Join(syscall.Mkfifo(path+".target", 0o600), os.Symlink(path+".target", path))
		},
	}
}
