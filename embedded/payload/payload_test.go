package payload

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// entry is one file of an archive made for a test.
type entry struct {
	file   File
	data   string
	header *tar.Header // what the archive says; nil: the same as the manifest
	absent bool        // in the manifest, not in the archive
	extra  bool        // in the archive, not in the manifest
}

func dir(path string) entry { return entry{file: File{Path: path, Mode: fs.ModeDir | 0o755}} }

func link(path, target string) entry {
	return entry{file: File{Path: path, Mode: fs.ModeSymlink | 0o777, Link: target}}
}

func regular(path, data string) entry {
	s := sha256.Sum256([]byte(data))
	return entry{
		file: File{Path: path, Mode: 0o755, Size: int64(len(data)), SHA256: hex.EncodeToString(s[:])},
		data: data,
	}
}

// good is a small payload with every kind of file.
func good() []entry {
	tmp := dir("rootfs/tmp")
	tmp.file.Mode |= fs.ModeSticky | 0o777
	return []entry{
		dir("rootfs"), link("rootfs/bin", "usr/bin"), tmp, dir("rootfs/usr"), dir("rootfs/usr/bin"),
		regular("rootfs/usr/bin/sh", "#!/bin/true\n"), regular("rootfs/usr/empty", ""),
		regular("rootfs/usr/large", strings.Repeat("0123456789abcdef", 1<<16)),
	}
}

// archived is the entry's header, as mkpayload writes it unless the test says otherwise.
func (e entry) archived() *tar.Header {
	if e.header != nil {
		return e.header
	}
	h := &tar.Header{Name: e.file.Path, Linkname: e.file.Link, Size: e.file.Size, Mode: int64(e.file.Mode.Perm()), Format: tar.FormatPAX}
	if e.file.Mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	if e.file.Mode&fs.ModeSetuid != 0 {
		h.Mode |= 0o4000
	}
	switch e.file.Mode.Type() {
	case fs.ModeDir:
		h.Typeflag = tar.TypeDir
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
	case fs.ModeDevice | fs.ModeCharDevice:
		h.Typeflag = tar.TypeChar
	default:
		h.Typeflag = tar.TypeReg
	}
	return h
}

// pack makes an archive of entries, valid or not.
func pack(t *testing.T, entries []entry) source {
	t.Helper()
	var m Manifest
	for _, e := range entries {
		if !e.extra {
			m.Files = append(m.Files, e.file)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	write := func(h *tar.Header, data string) {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	write(&tar.Header{Typeflag: tar.TypeReg, Name: ManifestName, Size: int64(len(b)), Mode: 0o644}, string(b))
	for _, e := range entries {
		if !e.absent {
			write(e.archived(), e.data)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return compressed(t, plain.Bytes())
}

func compressed(t *testing.T, plain []byte) source {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return sourceOf(z.EncodeAll(plain, nil))
}

func sourceOf(archive []byte) source {
	s := sha256.Sum256(archive)
	return source{
		sha:  hex.EncodeToString(s[:]),
		open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil },
	}
}
