package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/embedded/payload"
)

// writeArchive writes the tree to o.out, and the archive's hash beside it. It does nothing if the archive there was made
// from the same inputs.
func writeArchive(ctx context.Context, o options, t tree, log io.Writer) error {
	manifest, err := manifestOf(t, o)
	if err != nil {
		return err
	}
	path := filepath.Join(o.out, payload.ArchiveName)
	program, err := ownSum()
	if err != nil {
		return err
	}
	inputs := fmt.Sprintf("%s level %d by %s\n", sum(manifest), o.level, program)
	if upToDate(o.out, inputs) {
		fmt.Fprintln(log, "mkpayload: payload is up to date")
		return nil
	}
	began := time.Now()
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(o.out, payload.ArchiveName+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // of a failed attempt: the rename leaves nothing
	defer tmp.Close()
	hash := sha256.New()
	if err := compress(ctx, io.MultiWriter(tmp, hash), t, manifest, o.level); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	info, err := tmp.Stat()
	if err != nil {
		return err
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Close(), os.Rename(tmp.Name(), path)); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	sha := hex.EncodeToString(hash.Sum(nil))
	if err := os.WriteFile(filepath.Join(o.out, payload.SHAName), []byte(sha+"\n"), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(log, "mkpayload: wrote %s: %.1f MB in %s\n", path, float64(info.Size())/1e6, time.Since(began).Round(time.Second/10))
	return os.WriteFile(filepath.Join(o.out, inputsName), []byte(inputs+sha+"\n"), 0o644)
}

// ownSum is the hash of this program: another one may write the same files in another way.
func ownSum() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(path)
	return sum(b), err
}

// inputsName is the file that records what the archive was made from, and the archive's hash.
const inputsName = "payload.inputs"

// upToDate reports whether dir holds the undamaged archive of those inputs.
func upToDate(dir, inputs string) bool {
	stamp, err := os.ReadFile(filepath.Join(dir, inputsName))
	if err != nil {
		return false
	}
	sha, ok := strings.CutPrefix(string(stamp), inputs)
	if !ok {
		return false
	}
	b, err := os.ReadFile(filepath.Join(dir, payload.ArchiveName))
	if err != nil || sum(b)+"\n" != sha {
		return false
	}
	kept, err := os.ReadFile(filepath.Join(dir, payload.SHAName))
	return err == nil && string(kept) == sha
}

// manifestOf lists the tree, sorted by path so that a directory precedes its files.
func manifestOf(t tree, o options) ([]byte, error) {
	m := payload.Manifest{Arch: o.arch, Versions: o.versions}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		n := t[name]
		f := payload.File{Path: name, Mode: n.mode, Link: n.link}
		if n.mode.IsRegular() {
			b, err := n.content()
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			f.Size, f.SHA256, f.Code = int64(len(b)), sum(b), codeOf(b)
		}
		m.Files = append(m.Files, f)
	}
	return json.Marshal(m)
}

// content returns what the file holds, in memory of the caller's.
func (n node) content() ([]byte, error) {
	if n.source == "" {
		return bytes.Clone(n.data), nil
	}
	return os.ReadFile(n.source)
}

// codeOf returns where a program or library for amd64 has its instructions, nil for all other files.
func codeOf(content []byte) *payload.Span {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil || f.Machine != elf.EM_X86_64 {
		return nil
	}
	text := f.Section(".text")
	if text == nil || text.Type != elf.SHT_PROGBITS || text.Offset+text.Size > uint64(len(content)) {
		return nil
	}
	return &payload.Span{Offset: int64(text.Offset), Length: int64(text.Size)}
}

// compress writes the archive: the manifest, then the tree in the manifest's order.
func compress(ctx context.Context, w io.Writer, t tree, manifest []byte, level int) error {
	z, err := compressor(ctx, w, level)
	if err != nil {
		return err
	}
	defer z.Close()
	out := tar.NewWriter(z)
	if err := writeEntry(out, payload.ManifestName, node{mode: 0o644}, manifest); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := t[name]
		var content []byte
		if n.mode.IsRegular() {
			if content, err = n.content(); err != nil {
				return err
			}
			if code := codeOf(content); code != nil {
				payload.Absolute(content[code.Offset : code.Offset+code.Length])
			}
		}
		if err := writeEntry(out, name, n, content); err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
	}
	return errors.Join(out.Close(), z.Close())
}

// compressor compresses to w with Debian's zstd: at the same level, its archives are smaller than those of the Go library, and
// it takes less time. The window of 128 MB finds what the Go programs of the payload have in common.
func compressor(ctx context.Context, w io.Writer, level int) (io.WriteCloser, error) {
	cmd := exec.CommandContext(ctx, "zstd", "-q", "-c", "-T2", "--long=27", fmt.Sprintf("-%d", level))
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run zstd: %w", err)
	}
	return &zstdProcess{in, cmd}, nil
}

// zstdProcess compresses what is written to it. Close waits until all output is written and may be called twice.
type zstdProcess struct {
	io.WriteCloser
	cmd *exec.Cmd
}

func (p *zstdProcess) Close() error {
	if p.cmd.ProcessState != nil {
		return nil
	}
	if err := errors.Join(p.WriteCloser.Close(), p.cmd.Wait()); err != nil {
		return fmt.Errorf("run zstd: %w", err)
	}
	return nil
}

// writeEntry adds one file, owned by root and dated 1970.
func writeEntry(w *tar.Writer, name string, n node, content []byte) error {
	h := &tar.Header{
		Name: name, Mode: int64(n.mode.Perm()), Linkname: n.link, Size: int64(len(content)),
		ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
	}
	switch n.mode.Type() {
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
	default:
		h.Typeflag = tar.TypeReg
	}
	if n.mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(w, bytes.NewReader(content))
	return err
}
