package clustertest

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
)

// Promises about what the backend keeps between clusters.

// payload is one with the same files as the subject's, that the backend has not seen.
func (b *bench) payload(suffix string) cluster.Payload {
	p := b.Payload
	p.SHA += suffix
	return p
}

// withoutFiles is the payload, with its files gone.
func (b *bench) withoutFiles(p cluster.Payload) cluster.Payload {
	p.Rootfs = filepath.Join(b.dir, "missing")
	return p
}

// imported reports whether the backend can make a node of a payload whose files are gone. The node is made if so.
func (b *bench) imported(t *testing.T, node string, p cluster.Payload) bool {
	t.Helper()
	spec := b.spec(t, node)
	spec.Payload = b.withoutFiles(p)
	_, err := b.driver.Create(t.Context(), spec)
	return err == nil
}

func (b *bench) prepares(t *testing.T) {
	prepared := b.payload("-prepared")
	if b.imported(t, "n1", prepared) {
		t.Error("Create does not read the payload's files: there is no work that Prepare could do before")
	}
	p := b.driver.(cluster.Preparer)
	if err := p.Prepare(t.Context(), b.cluster, b.withoutFiles(prepared)); err == nil {
		t.Error("prepare without the payload's files succeeded")
	}
	if err := p.Prepare(t.Context(), b.cluster, prepared); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	if err := p.Prepare(t.Context(), b.cluster, b.withoutFiles(prepared)); err != nil {
		t.Errorf("prepare does its work again: %v", err)
	}
	if !b.imported(t, "n2", prepared) {
		t.Error("Create reads the payload's files after Prepare")
	}
}

func (b *bench) preparesBeside(t *testing.T) {
	p := b.driver.(cluster.Preparer)
	spec := b.spec(t, "n1")
	spec.Payload = b.payload("-beside")
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		wg.Go(func() { errs[i] = p.Prepare(t.Context(), b.cluster, spec.Payload) })
	}
	n, err := b.driver.Create(t.Context(), spec)
	wg.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatalf("create and prepare: %v", err)
	}
	b.expect(t, in(n, cluster.NodeRunning))
}

func (b *bench) purge(t *testing.T, payloads ...cluster.Payload) {
	t.Helper()
	if b.Purge == nil {
		if err := b.driver.(cluster.Purger).Purge(t.Context()); err != nil {
			t.Fatalf("purge: %v", err)
		}
		return
	}
	for _, p := range payloads {
		if err := b.Purge(t.Context(), b.driver, p); err != nil {
			t.Fatalf("purge: %v", err)
		}
	}
}

func (b *bench) purges(t *testing.T) {
	used, unused := b.payload("-used"), b.payload("-unused")
	spec := b.spec(t, "n1")
	spec.Payload = used
	n1, err := b.driver.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if err := b.driver.(cluster.Preparer).Prepare(t.Context(), b.cluster, unused); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	b.purge(t, used, unused)
	b.expect(t, in(n1, cluster.NodeRunning))
	if b.imported(t, "n2", unused) {
		t.Error("what no node uses is still there")
	}
	if !b.imported(t, "n3", used) {
		t.Error("what node n1 uses is gone")
	}
	for _, n := range b.list(t) {
		if err := b.driver.Delete(t.Context(), n); err != nil {
			t.Fatalf("delete %s: %v", n.Name, err)
		}
	}
	b.purge(t, used, unused)
	b.purge(t, used, unused) // nothing to remove
	if b.imported(t, "n4", used) {
		t.Error("what the last node used is still there")
	}
}

func (b *bench) savesImages(t *testing.T) {
	var names []string
	for _, p := range []cluster.Payload{b.payload("-one"), b.payload("-two")} {
		if err := b.driver.(cluster.Preparer).Prepare(t.Context(), b.cluster, p); err != nil {
			t.Fatalf("prepare: %v", err)
		}
		names = append(names, b.Image(p))
	}
	r, err := b.driver.(cluster.ImageSource).SaveImages(t.Context(), names)
	if err != nil {
		t.Fatalf("save images: %v", err)
	}
	defer r.Close()
	if diff := cmp.Diff(names, archived(t, r)); diff != "" {
		t.Errorf("images of the archive (-want +got):\n%s", diff)
	}
	tags, err := b.driver.(cluster.ImageSource).ImageTags(t.Context(), names[0])
	if err != nil || !slices.Contains(tags, names[0]) || !slices.Contains(tags, names[1]) || !slices.IsSorted(tags) {
		t.Errorf("tags are %q, %v, want those of %q", tags, err, names)
	}
	ids, _, err := b.driver.(cluster.ImageSource).ImageIDs(t.Context(), names)
	if err != nil || len(ids) != 2 {
		t.Fatalf("IDs are %v, %v", ids, err)
	}
	for name, id := range ids {
		if !slices.Contains(names, name) || digest.Digest(id).Validate() != nil {
			t.Errorf("ID of %s is %q", name, id)
		}
		if found, err := b.driver.(cluster.ImageSource).FindImage(t.Context(), name); err != nil || found.ID != id || found.Tagged.IsZero() {
			t.Errorf("found %s as %+v, %v", name, found, err)
		}
	}
}

func (b *bench) savesUnknown(t *testing.T) {
	r, err := b.driver.(cluster.ImageSource).SaveImages(t.Context(), []string{"kl.local/unknown:none"})
	if !errors.Is(err, cluster.ErrNoImage) {
		t.Errorf("save: %v, want ErrNoImage", err)
	}
	if err == nil {
		r.Close()
	}
	if ids, _, err := b.driver.(cluster.ImageSource).ImageIDs(t.Context(), []string{"kl.local/unknown:none"}); !errors.Is(err, cluster.ErrNoImage) {
		t.Errorf("IDs: %v, %v, want ErrNoImage", ids, err)
	}
	if found, err := b.driver.(cluster.ImageSource).FindImage(t.Context(), "kl.local/unknown:none"); !errors.Is(err, cluster.ErrNoImage) {
		t.Errorf("found %+v, %v, want ErrNoImage", found, err)
	}
}

func (b *bench) watchesImages(t *testing.T) {
	before, after := b.payload("-before"), b.payload("-after")
	if err := b.driver.(cluster.Preparer).Prepare(t.Context(), b.cluster, before); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	prepared := make(chan error, 1)
	go func() { // also if it happens before the watch
		prepared <- b.driver.(cluster.Preparer).Prepare(context.WithoutCancel(ctx), b.cluster, after)
	}()
	seen := false
	err := b.driver.(cluster.ImageWatcher).WatchImages(ctx, began, func(name string, image cluster.EngineImage) {
		switch {
		case name == b.Image(before):
			t.Errorf("it sees %s, which is older", name)
		case name == b.Image(after) && digest.Digest(image.ID).Validate() == nil:
			seen = true
			cancel()
		}
	})
	if !seen || !errors.Is(err, context.Canceled) {
		t.Errorf("seen %v, watch ended with %v", seen, err)
	}
	if err := <-prepared; err != nil {
		t.Errorf("prepare: %v", err)
	}
}

// archived reads a docker-archive and returns the names of its images, ordered. All files that its manifest names must be
// there.
func archived(t *testing.T, r io.Reader) []string {
	t.Helper()
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	files := map[string]bool{}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read the archive: %v", err)
		}
		files[h.Name] = true
		if h.Name == "manifest.json" {
			if err := json.NewDecoder(archive).Decode(&manifest); err != nil {
				t.Fatalf("read the archive's manifest: %v", err)
			}
		}
	}
	var names []string
	for _, image := range manifest {
		names = append(names, image.RepoTags...)
		for _, file := range append(image.Layers, image.Config) {
			if !files[file] {
				t.Errorf("the archive lacks %s of %v", file, image.RepoTags)
			}
		}
	}
	slices.Sort(names)
	return names
}
