package kubeconfig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
)

// How long another program may hold the lock of a kubeconfig file, and the pause between attempts. kubectl holds it for
// milliseconds.
const (
	kubeconfigLockTimeout = 5 * time.Second
	lockRetry             = 20 * time.Millisecond
)

// check returns an error for data that kubectl would not read, and for what an edit could not keep: duplicate keys, which
// clientcmd lets pass, and further documents.
func check(data []byte) error {
	if _, err := clientcmd.Load(data); err != nil {
		return fmt.Errorf("not a kubeconfig: %w", statefile.Plain(err))
	}
	documents := yaml.NewDecoder(bytes.NewReader(data))
	for i := 0; ; i++ {
		switch err := documents.Decode(new(any)); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("not a kubeconfig: %w", statefile.Plain(err))
		case i > 0:
			return errors.New("not a kubeconfig: more than one document")
		}
	}
}

// file is a kubeconfig file as a tree.
type file struct {
	path string
	data []byte // what the file holds
	doc  yaml.Node
}

// load reads a kubeconfig; a missing file is an empty one. It refuses what kubectl would not read, what an edit could not
// keep, and everything but regular files.
func load(path string) (*file, error) {
	f := &file{path: path}
	data, err := statefile.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return nil, fail(path, err)
	}
	if err := check(data); err != nil {
		return nil, fail(path, err)
	}
	f.data = data
	if err := yaml.Unmarshal(data, &f.doc); err != nil {
		return nil, fail(path, err)
	}
	if f.doc.Kind != 0 && (len(f.doc.Content) != 1 || f.doc.Content[0].Kind != yaml.MappingNode) {
		return nil, fail(path, errors.New("not a kubeconfig"))
	}
	return f, nil
}

// root returns the top mapping of the file, made if the file is empty.
func (f *file) root() *yaml.Node { return rootOf(&f.doc) }

// empty reports whether the file holds no kubeconfig yet.
func (f *file) empty() bool { return f.doc.Kind == 0 }

// edited returns what the file holds after an edit, and whether that differs.
func (f *file) edited(edit func(*file)) (data []byte, changed bool, err error) {
	head := f.data
	var before []byte
	if !f.empty() {
		head = nil // comments are part of the tree
		if before, err = encodeYAML(&f.doc); err != nil {
			return nil, false, fail(f.path, err)
		}
	}
	edit(f)
	after, err := encodeYAML(&f.doc)
	if err == nil {
		err = check(after) // anchors may have been lost, on which other entries rely
	}
	if err != nil {
		return nil, false, fail(f.path, err)
	}
	return append(bytes.TrimLeft(head, "\n"), after...), !bytes.Equal(before, after), nil
}

// change edits a file under the lock that kubectl takes, and writes it if the edit changed something.
func change(ctx context.Context, path string, edit func(*file)) error {
	real, err := statefile.Follow(path)
	if err != nil {
		return fail(path, err)
	}
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(real)} {
		if err := statefile.MkdirAll(dir, 0o750); err != nil {
			return fail(path, err)
		}
	}
	for _, name := range slices.Compact([]string{path, real}) { // kubectl locks the name it was given
		unlock, err := lock(ctx, name)
		if err != nil {
			return err
		}
		defer unlock()
	}
	f, err := load(path)
	if err != nil {
		return err
	}
	data, changed, err := f.edited(edit)
	if err != nil || !changed {
		return err
	}
	if err := statefile.Write(path, data, 0o600); err != nil {
		return fail(path, err)
	}
	return nil
}

// fail returns the error for a kubeconfig that cannot be edited.
func fail(path string, err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err // the path is in Op already
	}
	return &cluster.Error{Op: "edit kubeconfig " + path, Err: err}
}

// lock takes the lock that clientcmd takes: a file that must not exist yet. Clientcmd's has no permissions, and one that was killed leaves it
// for ever. This one can be opened and is locked (flock) besides, so that the next kl takes over what a killed one has left.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	name := path + ".lock"
	var l *statefile.Lock
	err = wait.PollUntilContextTimeout(ctx, lockRetry, kubeconfigLockTimeout, true, func(context.Context) (bool, error) {
		if foreign(os.Lstat(name)) {
			return false, nil
		}
		l, err = statefile.TryLock(name)
		if errors.Is(err, statefile.ErrLocked) || errors.Is(err, fs.ErrPermission) && foreign(os.Lstat(name)) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if foreign(l.File().Stat()) { // it came a moment ago, and root may open anything
			l.Unlock()
			return false, nil
		}
		return true, nil
	})
	switch {
	case err == nil:
		return l.Remove, nil
	case ctx.Err() != nil:
		return nil, &cluster.Error{Op: "lock kubeconfig " + path, Err: context.Cause(ctx)}
	case wait.Interrupted(err):
		return nil, &cluster.Error{Op: "lock kubeconfig " + path, Err: fs.ErrExist, Hint: "if no kubectl is running, remove " + name}
	}
	return nil, &cluster.Error{Op: "lock kubeconfig " + path, Err: err}
}

// foreign reports whether a lock is clientcmd's.
func foreign(info fs.FileInfo, err error) bool { return err == nil && info.Mode().Perm() == 0 }
