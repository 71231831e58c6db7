package docker

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// treeSize returns the size of all regular files below root.
func treeSize(root string) (int64, error) {
	var total int64
	err := filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, wrap("read the payload", err)
}

// writeTree writes the directories, files and symbolic links below root as a tar archive, owned by the user root and ordered
// by name. After every file, done is called with the bytes of files written so far.
func writeTree(ctx context.Context, w io.Writer, root string, done func(int64)) error {
	t := tar.NewWriter(w)
	var written int64
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := writeEntry(t, root, path, e)
		if n > 0 {
			written += n
			done(written)
		}
		return err
	})
	if err == nil {
		err = t.Close()
	}
	return wrap("pack the payload", err)
}

func writeEntry(t *tar.Writer, root, path string, e fs.DirEntry) (int64, error) {
	rel, err := filepath.Rel(root, path)
	if err != nil || rel == "." {
		return 0, err
	}
	info, err := e.Info()
	if err != nil {
		return 0, err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(path); err != nil {
			return 0, err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return 0, fmt.Errorf("%s: neither file, directory nor symbolic link", rel)
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return 0, err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = filepath.ToSlash(rel), 0, 0, "", ""
	h.ModTime, h.AccessTime, h.ChangeTime = h.ModTime.Truncate(time.Second), time.Time{}, time.Time{}
	if info.IsDir() {
		h.Name += "/"
	}
	if err := t.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(t, f)
}
