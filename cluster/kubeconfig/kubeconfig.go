// Package kubeconfig writes the cluster's own kubeconfig, and merges its context into the kubeconfig files that kubectl
// reads, leaving every other entry and comment as it is.
//
// Files are edited as YAML trees: clientcmd would write them back without comments and without fields that it does not
// know. What clientcmd refuses to read is not touched, and its lock is taken.
package kubeconfig

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// Write writes the cluster's own administrator kubeconfig, which needs no other file.
func Write(l cluster.Layout, port int) error {
	entries, err := adminEntries(l, port)
	if err != nil {
		return err
	}
	var doc yaml.Node
	entries.into(&doc)
	data, err := encodeYAML(&doc)
	if err != nil {
		return err
	}
	return statefile.Write(l.Kubeconfig(), data, 0o600)
}

// ServerURL is where the API server of a cluster listens: on the loopback address alone.
func ServerURL(port int) string { return fmt.Sprintf("https://127.0.0.1:%d", port) }

// entries are what a cluster adds to a kubeconfig: one cluster, one user, one context, all of one name.
type entries struct {
	name          string
	cluster, user map[string]string
}

func adminEntries(l cluster.Layout, port int) (entries, error) {
	encoded := map[string]string{}
	for _, file := range []string{"ca.crt", "admin.crt", "admin.key"} {
		data, err := os.ReadFile(l.PKI(file))
		if err != nil {
			return entries{}, cluster.Damaged(l, l.PKI(file), err)
		}
		encoded[file] = base64.StdEncoding.EncodeToString(data)
	}
	return entries{
		name: cluster.ContextName(l.Name),
		cluster: map[string]string{
			"certificate-authority-data": encoded["ca.crt"],
			"server":                     ServerURL(port),
		},
		user: map[string]string{
			"client-certificate-data": encoded["admin.crt"],
			"client-key-data":         encoded["admin.key"],
		},
	}, nil
}

// into puts the entries into a kubeconfig, in place of older ones of that name, and makes their context the current one.
func (e entries) into(doc *yaml.Node) {
	root := rootOf(doc)
	for section, value := range map[string]any{
		"clusters": map[string]any{"name": e.name, "cluster": e.cluster},
		"users":    map[string]any{"name": e.name, "user": e.user},
		"contexts": map[string]any{"name": e.name, "context": map[string]string{"cluster": e.name, "user": e.name}},
	} {
		dropNamed(root, section, e.name)
		var item yaml.Node
		if err := item.Encode(value); err != nil {
			panic(err) // maps of strings always encode
		}
		list := fieldOf(root, section)
		if list.Kind != yaml.SequenceNode { // absent or null
			*list = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		}
		if len(list.Content) == 0 {
			list.Style = 0 // "[]" would stay on one line
		}
		list.Content = append(list.Content, &item)
	}
	setString(root, "current-context", e.name)
}

// withdraw removes the entries of that name, and the current context if it is that one.
func withdraw(doc *yaml.Node, name string) (changed bool) {
	root := rootOf(doc)
	for _, section := range []string{"clusters", "users", "contexts"} {
		changed = dropNamed(root, section, name) || changed
	}
	if current := lookup(root, "current-context"); current != nil && current.Value == name {
		setString(root, "current-context", "")
		changed = true
	}
	return changed
}

// rootOf returns the top mapping of a document, made if it is empty.
func rootOf(doc *yaml.Node) *yaml.Node {
	if doc.Kind == 0 {
		root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		setString(root, "apiVersion", "v1")
		setString(root, "kind", "Config")
		*doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}}
	}
	return doc.Content[0]
}

// lookup returns the value of a key of a mapping, nil if it is absent.
func lookup(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// fieldOf returns the value of a key of a mapping, made null if it is absent.
func fieldOf(mapping *yaml.Node, key string) *yaml.Node {
	if value := lookup(mapping, key); value != nil {
		return value
	}
	value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value)
	return value
}

func setString(mapping *yaml.Node, key, value string) {
	field := fieldOf(mapping, key)
	*field = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, LineComment: field.LineComment}
	if value == "" {
		field.Style = yaml.DoubleQuotedStyle
	}
}

func dropNamed(root *yaml.Node, section, name string) (dropped bool) {
	list := lookup(root, section)
	if list == nil || list.Kind != yaml.SequenceNode {
		return false
	}
	kept := list.Content[:0]
	for _, item := range list.Content {
		if n := lookup(item, "name"); n != nil && n.Value == name {
			dropped = true
			continue
		}
		kept = append(kept, item)
	}
	list.Content = kept
	if len(kept) == 0 {
		list.Style = yaml.FlowStyle
	}
	return dropped
}

func encodeYAML(doc *yaml.Node) ([]byte, error) {
	var b strings.Builder
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return []byte(b.String()), enc.Close()
}

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

// Merge puts the cluster's context into a kubeconfig file, leaves every other entry and comment as it is, and
// makes the context the current one. The change is atomic and made under the lock that kubectl takes.
func Merge(ctx context.Context, l cluster.Layout, path string) error {
	spec, err := cluster.ReadSpec(l)
	if err != nil {
		return err
	}
	e, err := adminEntries(l, spec.Kubernetes.APIServerPort)
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	if err := rememberMerged(l, path); err != nil {
		return fmt.Errorf("remember kubeconfig %s: %w", path, err)
	}
	return editKubeconfig(ctx, path, func(doc *yaml.Node) bool { e.into(doc); return true })
}

// Forget removes the cluster's context from every file it was merged into and from those given.
func Forget(ctx context.Context, l cluster.Layout, files []string) error {
	var errs []error
	done := map[string]bool{}
	for _, path := range append(mergedFiles(l), files...) {
		if _, err := os.Stat(path); err != nil || done[path] {
			continue
		}
		done[path] = true
		errs = append(errs, editKubeconfig(ctx, path, func(doc *yaml.Node) bool {
			return withdraw(doc, cluster.ContextName(l.Name))
		}))
	}
	return errors.Join(errs...)
}

func mergedFiles(l cluster.Layout) []string {
	data, err := os.ReadFile(l.MergedFile())
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

// check returns an error for data that kubectl would not read, and for what an edit could not keep: duplicate keys, which
// clientcmd lets pass, and further documents.
func check(data []byte) error {
	if _, err := clientcmd.Load(data); err != nil {
		return fmt.Errorf("not a kubeconfig: %w", err)
	}
	documents := yaml.NewDecoder(bytes.NewReader(data))
	for i := 0; ; i++ {
		switch err := documents.Decode(new(any)); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("not a kubeconfig: %w", err)
		case i > 0:
			return errors.New("not a kubeconfig: more than one document")
		}
	}
}

// editKubeconfig rewrites a file if edit reports that it changed something.
func editKubeconfig(ctx context.Context, path string, edit func(*yaml.Node) bool) error {
	fail := func(err error) error { return &cluster.Error{Op: "edit kubeconfig " + path, Err: err} }
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the link stays a link
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fail(err)
	}
	unlock, err := lockKubeconfig(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	mode := os.FileMode(0o600)
	var doc yaml.Node
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fail(err)
	default:
		if info, err := os.Stat(path); err == nil {
			mode = info.Mode().Perm()
		}
		if err := yaml.Unmarshal(data, &doc); err != nil {
			return fail(err)
		}
	}
	if doc.Kind != 0 && (len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode) {
		return fail(errors.New("not a kubeconfig"))
	}
	if !edit(&doc) {
		return nil
	}
	if err := check(data); err != nil {
		return fail(err)
	}
	if data, err = encodeYAML(&doc); err != nil {
		return fail(err)
	}
	if err := statefile.Write(path, data, mode); err != nil {
		return fail(err)
	}
	return nil
}

// lockKubeconfig takes the lock that clientcmd takes: it creates a file that must not exist yet.
func lockKubeconfig(ctx context.Context, path string) (unlock func(), err error) {
	name := path + ".lock"
	err = wait.PollUntilContextTimeout(ctx, lockRetry, kubeconfigLockTimeout, true, func(context.Context) (bool, error) {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0)
		if errors.Is(err, fs.ErrExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return true, f.Close()
	})
	switch {
	case err == nil:
		return func() { os.Remove(name) }, nil
	case ctx.Err() != nil:
		return nil, &cluster.Error{Op: "lock kubeconfig " + path, Err: context.Cause(ctx)}
	case wait.Interrupted(err):
		return nil, &cluster.Error{Op: "lock kubeconfig " + path, Err: fs.ErrExist, Hint: "if no kubectl is running, remove " + name}
	}
	return nil, &cluster.Error{Op: "lock kubeconfig " + path, Err: err}
}
