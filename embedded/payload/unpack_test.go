package payload

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func unpackInto(t *testing.T, src source, dir string) error {
	t.Helper()
	r, err := src.open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = Unpack(t.Context(), r, src.sha, dir, nil)
	return err
}

func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	src := pack(t, good())
	r, _ := src.open()
	var seen []int64
	m, err := Unpack(t.Context(), r, src.sha, dir, func(done, total int64) {
		if done > total || len(seen) > 0 && done < seen[len(seen)-1] {
			t.Errorf("progress %d of %d after %v", done, total, seen)
		}
		seen = append(seen, done)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) < 10 || len(seen) > 200 || seen[len(seen)-1] != m.Bytes() {
		t.Errorf("progress was called %d times, last with %v; want about 100 calls, the last with %d", len(seen), seen[len(seen)-1:], m.Bytes())
	}
	if err := Verify(dir); err != nil {
		t.Errorf("Verify: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "rootfs/tmp")); err != nil || info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("rootfs/tmp: %v, %v; want a sticky directory for all", info, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "rootfs/bin/sh")); err != nil || string(b) != "#!/bin/true\n" {
		t.Errorf("rootfs/bin/sh = %q, %v", b, err)
	}
}

// Archives that contradict their manifest or lead out of the directory are refused, and nothing appears outside it.
func TestUnpackHostile(t *testing.T) {
	setuid := regular("rootfs/su", "x")
	setuid.file.Mode |= fs.ModeSetuid
	device := entry{file: File{Path: "rootfs/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}}
	hardlink := regular("rootfs/hard", "")
	hardlink.header = &tar.Header{Typeflag: tar.TypeLink, Name: "rootfs/hard", Linkname: "/etc/passwd", Mode: 0o755}
	renamed := regular("rootfs/a", "x")
	renamed.header = &tar.Header{Typeflag: tar.TypeReg, Name: "../../a", Size: 1, Mode: 0o755}
	short := regular("rootfs/a", "xyz")
	short.header = &tar.Header{Typeflag: tar.TypeReg, Name: "rootfs/a", Size: 1, Mode: 0o755}
	short.data = "x"
	huge := regular("rootfs/huge", "x")
	huge.file.Size, huge.absent = maxBytes+1, true
	negative := regular("rootfs/negative", "")
	negative.file.Size, negative.absent = -1, true
	absent := regular("rootfs/a", "x")
	absent.absent = true
	code := regular("rootfs/a", "xyz")
	code.file.Code = &Span{Offset: 1, Length: 3}
	extra := regular("rootfs/a", "x")
	extra.extra = true

	for _, tt := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"parent path", []entry{regular("../evil", "x")}, "bad path"},
		{"climbing path", []entry{dir("rootfs"), regular("rootfs/../../evil", "x")}, "bad path"},
		{"absolute path", []entry{regular("/tmp/evil", "x")}, "bad path"},
		{"empty path", []entry{regular("", "x")}, "bad path"},
		{"absolute link", []entry{dir("rootfs"), link("rootfs/l", "/etc")}, "leads out"},
		{"climbing link", []entry{dir("rootfs"), link("rootfs/l", "../../evil")}, "leads out"},
		{"empty link", []entry{dir("rootfs"), link("rootfs/l", "")}, "leads out"},
		{"through a link", []entry{dir("rootfs"), dir("rootfs/d"), link("rootfs/l", "d"), regular("rootfs/l/f", "x")}, "its directory is not in the archive"},
		{"missing directory", []entry{regular("rootfs/f", "x")}, "its directory is not in the archive"},
		{"setuid", []entry{dir("rootfs"), setuid}, "not allowed"},
		{"device", []entry{dir("rootfs"), device}, "neither file"},
		{"hard link", []entry{dir("rootfs"), hardlink}, "differs from the manifest"},
		{"other name in the archive", []entry{dir("rootfs"), renamed}, "archive has"},
		{"other size in the archive", []entry{dir("rootfs"), short}, "differs from the manifest"},
		{"twice the same", []entry{dir("rootfs"), regular("rootfs/a", "x"), regular("rootfs/a", "y")}, "exists"},
		{"file over a link", []entry{dir("rootfs"), link("rootfs/a", "b"), regular("rootfs/a", "y")}, "exists"},
		{"too large", []entry{dir("rootfs"), huge}, "bad size"},
		{"negative size", []entry{dir("rootfs"), negative}, "bad size"},
		{"too many", make([]entry, maxFiles+1), "too many"},
		{"code outside of the file", []entry{dir("rootfs"), code}, "outside of the file"},
		{"file missing", []entry{dir("rootfs"), absent}, "unexpected EOF"},
		{"file not listed", []entry{dir("rootfs"), extra}, "more files"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outer := t.TempDir()
			inner := filepath.Join(outer, "in")
			if err := os.Mkdir(inner, 0o700); err != nil {
				t.Fatal(err)
			}
			err := unpackInto(t, pack(t, tt.entries), inner)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("unpack: %v, want an error with %q", err, tt.want)
			}
			if left, _ := os.ReadDir(outer); len(left) != 1 {
				t.Errorf("files outside the directory: %v", left)
			}
		})
	}
}

func TestUnpackDamaged(t *testing.T) {
	whole := pack(t, good())
	r, _ := whole.open()
	archive, _ := io.ReadAll(r)
	flipped := bytes.Clone(archive)
	flipped[len(flipped)/2] ^= 1
	for _, tt := range []struct {
		name string
		src  source
	}{
		{"cut short", sourceOf(archive[:len(archive)/2])},
		{"bit flipped", source{sha: whole.sha, open: sourceOf(flipped).open}},
		{"other archive", source{sha: strings.Repeat("0", 64), open: whole.open}},
		{"trailing bytes", source{sha: whole.sha, open: sourceOf(append(bytes.Clone(archive), "more"...)).open}},
		{"empty", sourceOf(nil)},
		{"not compressed", sourceOf([]byte("tar"))},
		{"no manifest", compressed(t, make([]byte, 1024))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := unpackInto(t, tt.src, t.TempDir()); err == nil {
				t.Error("unpack succeeded")
			}
		})
	}
}

func TestUnpackCanceled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("interrupted")
	cancel(reason)
	src := pack(t, good())
	r, _ := src.open()
	if _, err := Unpack(ctx, r, src.sha, t.TempDir(), nil); !errors.Is(err, reason) {
		t.Errorf("unpack: %v, want %v", err, reason)
	}
}

func TestVerify(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(dir string) error
		want   string
	}{
		{"content", func(d string) error { return os.WriteFile(d+"/rootfs/usr/bin/sh", []byte("#!/bin/evil\n"), 0o755) }, "content differs"},
		{"mode", func(d string) error { return os.Chmod(d+"/rootfs/usr/bin/sh", 0o777) }, "mode is"},
		{"missing", func(d string) error { return os.Remove(d + "/rootfs/usr/empty") }, "no such file"},
		{"link", func(d string) error {
			return errors.Join(os.Remove(d+"/rootfs/bin"), os.Symlink("usr", d+"/rootfs/bin"))
		}, "link leads to"},
		{"manifest", func(d string) error { return os.WriteFile(d+"/"+ManifestName, []byte("{"), 0o644) }, "parse payload manifest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unpackInto(t, pack(t, good()), dir); err != nil {
				t.Fatal(err)
			}
			if err := tt.damage(dir); err != nil {
				t.Fatal(err)
			}
			if err := Verify(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Verify: %v, want an error with %q", err, tt.want)
			}
		})
	}
}
