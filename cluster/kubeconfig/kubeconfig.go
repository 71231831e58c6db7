// Package kubeconfig writes the cluster's own kubeconfig, and merges its context into the kubeconfig files that kubectl
// reads, leaving every other entry and comment as it is.
//
// Files are edited as YAML trees: clientcmd would write them back without comments and without fields that it does not
// know. What clientcmd refuses to read is not touched, and its lock is taken.
package kubeconfig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"go.yaml.in/yaml/v3"
)

// Write writes the cluster's own administrator kubeconfig, which needs no other file.
func Write(l cluster.Layout, port int) error {
	entries, err := adminEntries(l, port)
	if err != nil {
		return err
	}
	f := &file{path: l.Kubeconfig()}
	setString(f.root(), "current-context", entries.put(f))
	data, err := encodeYAML(&f.doc)
	if err != nil {
		return err
	}
	return statefile.Write(l.Kubeconfig(), data, 0o600)
}

// ServerURL is where the API server of a cluster listens: on the loopback address alone.
func ServerURL(port int) string { return fmt.Sprintf("https://127.0.0.1:%d", port) }

// Target returns the file that kubectl would write a new context to: the first that exists, else the last; empty for none.
func Target(files []string) string {
	for _, file := range files {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	if len(files) == 0 {
		return ""
	}
	return files[len(files)-1]
}

// Check returns the error that Merge would return because of what is at path now.
func Check(path string) error {
	if err := statefile.Check(path); err != nil {
		return fail(path, err)
	}
	_, err := load(path)
	return err
}

// Merge puts the cluster's context into a kubeconfig file and returns the context's name. Every other entry and comment
// stays as it is, and so does what a person has added to the cluster's own. The context becomes the current one if that
// is asked for, or if the file is new. The change is atomic and made under the lock that kubectl takes.
func Merge(ctx context.Context, l cluster.Layout, path string, makeCurrent bool) (name string, err error) {
	spec, err := cluster.ReadSpec(l)
	if err != nil {
		return "", err
	}
	e, err := adminEntries(l, spec.Kubernetes.APIServerPort)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	if err := Check(path); err != nil {
		return "", err
	}
	if err := rememberMerged(l, path); err != nil {
		return "", fmt.Errorf("remember kubeconfig %s: %w", path, err)
	}
	return name, change(ctx, path, func(f *file) {
		makeCurrent = makeCurrent || f.empty()
		if name = e.put(f); makeCurrent {
			setStrings(f.root(), map[string]string{"current-context": name})
		}
	})
}

// Refresh brings the cluster's entries up to date in every file that it was merged into, and adds none. It goes on after a failure,
// and returns how many files it has changed and an error for each that may hold what is out of date.
func Refresh(ctx context.Context, l cluster.Layout, port int) (changed int, left []error) {
	e, err := adminEntries(l, port)
	if err != nil {
		return 0, []error{err}
	}
	for _, path := range mergedFiles(l) {
		edit := func(f *file) {
			if slices.ContainsFunc(items(f.root(), clustersList), func(item *yaml.Node) bool { return e.owns(item, f.path) }) {
				e.put(f)
			}
		}
		f, err := load(path)
		if err == nil && !f.empty() {
			var differs bool
			if _, differs, err = f.edited(edit); err == nil && differs {
				err = change(ctx, f.path, edit)
				changed++
			}
		}
		if err != nil {
			left = append(left, err)
		}
	}
	return changed, left
}

// Forget removes the cluster's contexts, whatever they are called by now, from every file it was merged into and from those
// given. What is not this cluster's stays, even if it has the cluster's name. It goes on after a failure, and returns an
// error for each file that still holds, or may hold, what is the cluster's.
func Forget(ctx context.Context, l cluster.Layout, files []string) (left []error) {
	o, found := ownerOf(l), newNames()
	merged := mergedFiles(l)
	seen := map[string]bool{}
	var loaded []*file
	for _, path := range append(merged, files...) {
		path, err := filepath.Abs(path)
		if err != nil || seen[path] {
			continue
		}
		seen[path] = true
		f, err := load(path)
		if err == nil {
			loaded = append(loaded, f)
		} else if slices.Contains(merged, path) {
			left = append(left, err)
		}
	}
	for range 2 {
		for _, f := range loaded {
			o.find(f, found)
		}
	}
	for _, f := range loaded {
		edit := func(f *file) { o.withdraw(f, found) }
		_, changed, err := f.edited(edit)
		if err == nil && changed {
			err = change(ctx, f.path, edit)
		}
		if err != nil {
			left = append(left, err)
		}
	}
	return left
}

func mergedFiles(l cluster.Layout) []string {
	data, err := statefile.Read(l.MergedFile())
	if err != nil {
		return nil
	}
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' })
}

func rememberMerged(l cluster.Layout, path string) error {
	files := mergedFiles(l)
	for _, file := range files {
		if file == path {
			return nil
		}
	}
	return statefile.Write(l.MergedFile(), []byte(strings.Join(append(files, path), "\n")+"\n"), 0o600)
}
