// Package statefile writes and locks the files that hold state. What it writes survives a power failure: a reader sees the
// old content or the new one, never a part of it.
//
//	err := statefile.Write(layout.SpecFile(), data, 0o600)
package statefile

import (
	"os"
	"path/filepath"
)

// Create creates a file and syncs it to disk.
func Create(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Write makes path hold data: a reader, and a machine that loses power, see the old content or the new one.
func Write(path string, data []byte, mode os.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	name := temp.Name()
	temp.Close()
	defer os.Remove(name) // gone after the rename
	if err := os.Chmod(name, mode); err != nil {
		return err
	}
	if err := Create(name, data, mode); err != nil {
		return err
	}
	if err := os.Rename(name, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes renames in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
