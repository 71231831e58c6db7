//go:build linux

package clone

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Passes is how often a directory that changes is gone through before its copy is taken as it is.
	Passes = 4
	// tick is longer than the kernel's clock for times of files stands still: two changes within it may carry the same time.
	tick = 20 * time.Millisecond
)

// Tree copies everything in the directory source into the directory target, which must exist and be empty, and makes target like it:
// owners, permissions, times, extended attributes, hard links and holes included. It does not leave source's file system. It returns
// the names of what changed during every one of its passes, relative to source: they may hold some of the old and some of the new.
// If it fails, part of the copy is in target.
func Tree(ctx context.Context, source, target string) (changed []string, err error) {
	return tree(ctx, source, target, func() {})
}

// tree is Tree that calls a function after each pass, for tests.
func tree(ctx context.Context, source, target string, passed func()) (changed []string, err error) {
	from, err := openDir(unix.AT_FDCWD, source)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	to, err := openDir(unix.AT_FDCWD, target)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	root, err := statFile(from)
	if err != nil {
		return nil, err
	}
	c := &copier{device: root.Dev, target: to, done: map[string]stamp{}}
	for pass := 1; ; pass++ {
		c.copied, c.young, c.links = map[string]bool{}, false, map[uint64]string{}
		if err := c.dir(ctx, from, to, "."); err != nil {
			return nil, err
		}
		passed()
		if now, err := statFile(from); err != nil || now.Nlink == 0 {
			return nil, errors.Join(err, wrap("copy", source, unix.ENOENT)) // removed meanwhile
		}
		if pass > 1 && len(c.copied) == 0 {
			return nil, nil
		}
		if pass == Passes {
			return slices.Sorted(maps.Keys(c.copied)), nil
		}
		if c.young {
			select {
			case <-time.After(tick):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}

// stamp is what changes when a file does.
type stamp struct {
	inode   uint64
	mode    uint32
	size    int64
	changed unix.Timespec
}

func stampOf(s unix.Stat_t) stamp { return stamp{s.Ino, s.Mode, s.Size, s.Ctim} }

// copier is one call of Tree.
type copier struct {
	device uint64
	target *os.File
	done   map[string]stamp // what was copied, as it was before; zero if it may change unnoticed

	// Of the current pass.
	copied map[string]bool   // copied, or removed since it was copied
	young  bool              // a file changed less than a tick ago
	links  map[uint64]string // where an inode with several names was copied to
}

// dir makes the directory to hold what from holds. rel is its name in source.
func (c *copier) dir(ctx context.Context, from, to *os.File, rel string) error {
	names, err := list(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.entry(ctx, from, to, name, path.Join(rel, name)); err != nil {
			return err
		}
	}
	have, err := list(to)
	if err != nil {
		return err
	}
	for _, name := range have {
		if _, found := slices.BinarySearch(names, name); found {
			continue
		}
		if err := c.remove(to, name, path.Join(rel, name)); err != nil {
			return err
		}
	}
	return likeDir(from, to)
}

// entry copies one name of a directory, unless it is as it was when it was copied. A name that is gone meanwhile is left out.
func (c *copier) entry(ctx context.Context, from, to *os.File, name, rel string) error {
	var s unix.Stat_t
	if err := statAt(from, name, &s); errors.Is(err, unix.ENOENT) {
		return c.remove(to, name, rel)
	} else if err != nil {
		return err
	}
	before, known := c.done[rel]
	now := c.stamp(s)
	if s.Mode&unix.S_IFMT == unix.S_IFDIR {
		if known && before.mode&unix.S_IFMT != unix.S_IFDIR {
			if err := c.remove(to, name, rel); err != nil {
				return err
			}
			known = false
		}
		if !known {
			c.note(rel, now)
		}
		return c.subdir(ctx, from, to, name, rel, s, known)
	}
	if known && before == now && now != (stamp{}) {
		return nil
	}
	if known {
		if err := c.remove(to, name, rel); err != nil {
			return err
		}
	}
	err := c.leaf(ctx, from, to, name, rel, s)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, errOther) { // replaced meanwhile: the next pass sees
		now, err = stamp{}, nil
	}
	if err != nil {
		return err
	}
	c.note(rel, now)
	return nil
}

// stamp returns the stamp of a file; zero if a change might not show in it.
func (c *copier) stamp(s unix.Stat_t) stamp {
	if s.Mode&unix.S_IFMT != unix.S_IFDIR && time.Since(time.Unix(s.Ctim.Unix())) < tick {
		c.young = true
		return stamp{}
	}
	return stampOf(s)
}

func (c *copier) note(rel string, s stamp) {
	if before, known := c.done[rel]; !known || before != s || s == (stamp{}) {
		c.copied[rel] = true
	}
	c.done[rel] = s
}

// remove removes what was copied under a name, if anything was.
func (c *copier) remove(to *os.File, name, rel string) error {
	var s unix.Stat_t
	if err := statAt(to, name, &s); errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return err
	}
	for known := range c.done {
		if known == rel || len(known) > len(rel) && known[:len(rel)+1] == rel+"/" {
			delete(c.done, known)
		}
	}
	c.copied[rel] = true
	if s.Mode&unix.S_IFMT != unix.S_IFDIR {
		return wrap("remove", rel, unix.Unlinkat(int(to.Fd()), name, 0))
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", to.Fd()))
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(name)
}

// subdir copies a directory. One of another file system stays empty.
func (c *copier) subdir(ctx context.Context, from, to *os.File, name, rel string, s unix.Stat_t, known bool) error {
	if !known {
		if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
			return wrap("make", rel, err)
		}
	}
	source, err := openDir(int(from.Fd()), name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) { // replaced: the next pass sees
		return nil
	}
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := openDir(int(to.Fd()), name)
	if err != nil {
		return err
	}
	defer target.Close()
	if s.Dev != c.device {
		return likeDir(source, target)
	}
	return c.dir(ctx, source, target, rel)
}

// leaf copies anything but a directory.
func (c *copier) leaf(ctx context.Context, from, to *os.File, name, rel string, s unix.Stat_t) error {
	if s.Nlink > 1 {
		if first, ok := c.links[s.Ino]; ok {
			return wrap("link", rel, unix.Linkat(int(c.target.Fd()), first, int(to.Fd()), name, 0))
		}
	}
	var err error
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		err = regular(ctx, from, to, name, s)
	case unix.S_IFLNK:
		err = symlink(from, to, name, s)
	default: // a pipe, a socket or a device
		err = unix.Mknodat(int(to.Fd()), name, s.Mode, int(s.Rdev))
		if err == nil {
			err = likeAt(to, name, s)
		}
	}
	if err == nil && s.Nlink > 1 {
		c.links[s.Ino] = rel
	}
	return wrap("copy", rel, err)
}

func wrap(op, rel string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: rel, Err: err}
}
