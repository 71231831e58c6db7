package payload

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Names of the archive and of what is in it.
const (
	ArchiveName  = "payload.tar.zst"
	SHAName      = "payload.sha256" // hex sha256 of the archive, beside it
	ManifestName = "manifest.json"  // first entry of the archive
	RootfsName   = "rootfs"
)

// Manifest is manifest.json: what the archive holds and which versions went into it.
type Manifest struct {
	Arch     string            `json:"arch"`
	Versions map[string]string `json:"versions"` // component, Go module or Debian package → version
	Files    []File            `json:"files"`    // sorted by path, all but the manifest itself
}

// File is one file, directory or symbolic link of the archive.
type File struct {
	Path   string      `json:"path"` // slash-separated, relative to the archive: rootfs/usr/local/bin/runc
	Mode   fs.FileMode `json:"mode"` // type and permission bits
	Size   int64       `json:"size,omitempty"`
	SHA256 string      `json:"sha256,omitempty"` // of a regular file's content
	Link   string      `json:"link,omitempty"`   // target of a symbolic link, relative
	Code   *Span       `json:"code,omitempty"`   // what the archive has as [Absolute] makes it
}

// Bytes is the size of all regular files together.
func (m *Manifest) Bytes() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// ReadManifest reads the manifest of a payload unpacked in dir.
func ReadManifest(dir string) (*Manifest, error) {
	b, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, fmt.Errorf("read payload manifest: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("parse payload manifest: %w", err)
	}
	return &m, nil
}

// Verify compares every file of an unpacked payload with its manifest, content included. It takes about a second; the
// error joins one line for each file that differs.
func Verify(dir string) error {
	m, err := ReadManifest(dir)
	if err != nil {
		return err
	}
	var bad []error
	for _, f := range m.Files {
		if err := verifyFile(filepath.Join(dir, filepath.FromSlash(f.Path)), f); err != nil {
			bad = append(bad, fmt.Errorf("verify %s: %w", f.Path, err))
		}
	}
	return errors.Join(bad...)
}

func verifyFile(path string, f File) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode() != f.Mode && f.Mode&fs.ModeSymlink == 0 || info.Mode().Type() != f.Mode.Type() {
		return fmt.Errorf("mode is %v, want %v", info.Mode(), f.Mode)
	}
	switch f.Mode.Type() {
	case fs.ModeSymlink:
		if link, err := os.Readlink(path); err != nil || link != f.Link {
			return fmt.Errorf("link leads to %q, want %q", link, f.Link)
		}
	case 0:
		if sum, err := hashFile(path); err != nil || sum != f.SHA256 {
			return errors.Join(err, errors.New("content differs"))
		}
	}
	return nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
