//go:build linux

package clone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// chunk is how many bytes are copied at a time.
const chunk = 1 << 20

// File copies a regular file, which must not exist at target, and reports whether the copy shares the data of the source, and so is of
// one moment.
func File(ctx context.Context, source, target string) (shared bool, err error) {
	from, err := os.OpenFile(source, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer from.Close()
	to, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	shared, err = contents(ctx, from, to)
	return shared, errors.Join(err, to.Close())
}

// Shares returns nil if files in dir can share their data, so that a copy needs no space.
func Shares(dir string) error {
	var files [2]int
	for i := range files {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		files[i] = fd
	}
	return unix.IoctlFileClone(files[0], files[1])
}

// contents makes an empty file hold what another one holds.
func contents(ctx context.Context, from, to *os.File) (shared bool, err error) {
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err == nil {
		return true, nil
	} else if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EIO) {
		return false, fmt.Errorf("share data: %w", err)
	}
	info, err := from.Stat()
	if err != nil {
		return false, err
	}
	buffer := make([]byte, min(chunk, max(info.Size(), 1)))
	for at := int64(0); at < info.Size(); {
		data, hole, err := nextData(from, at, info.Size())
		if err != nil {
			return false, err
		}
		if err := copyRange(ctx, from, to, data, hole, buffer); err != nil {
			return false, err
		}
		at = hole
	}
	return false, to.Truncate(info.Size())
}

// nextData returns where the next data of a file begins and ends, from an offset on.
func nextData(f *os.File, from, size int64) (begin, end int64, err error) {
	begin, err = unix.Seek(int(f.Fd()), from, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole is the rest, or the file was cut meanwhile
		return size, size, nil
	case errors.Is(err, unix.EINVAL): // no file system for holes
		return from, size, nil
	case err != nil:
		return 0, 0, &os.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
	end, err = unix.Seek(int(f.Fd()), begin, unix.SEEK_HOLE)
	if err != nil {
		return begin, size, nil //nolint:nilerr // the file was cut meanwhile: what can be read decides
	}
	return min(begin, size), min(end, size), nil
}

// copyRange copies the bytes from begin to end; fewer if the file was cut meanwhile.
func copyRange(ctx context.Context, from, to *os.File, begin, end int64, buffer []byte) error {
	for at := begin; at < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.ReadAt(buffer[:min(int64(len(buffer)), end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			return nil
		}
		if _, err := to.WriteAt(buffer[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
