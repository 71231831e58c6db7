package clustertest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
)

// Prepare imports the payload, unless that has been done. Its root file system must exist, if it names one.
func (f *Fake) Prepare(ctx context.Context, clusterName string, p cluster.Payload) error {
	n := cluster.Node{Cluster: clusterName}
	if err := f.before(ctx, "prepare", n); err != nil {
		return err
	}
	if err := f.machine.checkPayload(p); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	if !f.machine.images[p.SHA] {
		f.machine.images[p.SHA] = true
		f.NameImage(f.Image(p), "sha256:"+hexSum(f.Image(p)))
	}
	f.machine.note("prepare", n)
	return nil
}

// NameImage tells those who watch images that one got a name, as a build does.
func (f *Fake) NameImage(name, id string) {
	f.machine.named.Update(func(all []namedImage) ([]namedImage, bool) {
		return append(slices.Clip(all), namedImage{name, cluster.EngineImage{ID: id, Tagged: time.Now()}}), true
	})
}

// WatchImages sees imported payloads, and what was given to NameImage.
func (f *Fake) WatchImages(ctx context.Context, since time.Time, see func(name string, image cluster.EngineImage)) error {
	for seen := 0; ; {
		all, changed := f.machine.named.Get()
		for _, i := range all[seen:] {
			if !i.Tagged.Before(since) {
				see(i.name, i.EngineImage)
			}
		}
		seen = len(all)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Purge removes the images that no node uses.
func (f *Fake) Purge(ctx context.Context) error {
	if err := f.before(ctx, "purge", cluster.Node{}); err != nil {
		return err
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	maps.DeleteFunc(f.machine.images, func(sha string, _ bool) bool {
		for _, n := range f.machine.nodes {
			if n.node.PayloadSHA == sha {
				return false
			}
		}
		return true
	})
	f.machine.history = append(f.machine.history, "purge")
	return nil
}

// Image is the name under which SaveImages knows an imported payload.
func (f *Fake) Image(p cluster.Payload) string { return fakeRepository + p.SHA }

const fakeRepository = "kl.local/node:"

// ImageTags returns the names of imported payloads.
func (f *Fake) ImageTags(context.Context, string) ([]string, error) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	var names []string
	for _, sha := range slices.Sorted(maps.Keys(f.machine.images)) {
		names = append(names, fakeRepository+sha)
	}
	return names, nil
}

// FindImage returns a made up ID of an imported payload.
func (f *Fake) FindImage(ctx context.Context, name string) (cluster.EngineImage, error) {
	ids, _, err := f.ImageIDs(ctx, []string{name})
	if err != nil {
		return cluster.EngineImage{}, err
	}
	return cluster.EngineImage{ID: ids[name], Tagged: time.Now()}, nil
}

// ImageIDs returns made up IDs of imported payloads, and no directory.
func (f *Fake) ImageIDs(_ context.Context, names []string) (map[string]string, string, error) {
	ids := map[string]string{}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	for _, name := range names {
		if sha, ok := strings.CutPrefix(name, fakeRepository); !ok || !f.machine.images[sha] {
			return nil, "", fmt.Errorf("find images: %w: %s", cluster.ErrNoImage, name)
		}
		ids[name] = "sha256:" + hexSum(name)
	}
	return ids, "", nil
}

// SaveImages returns images of imported payloads, all with one empty layer.
func (f *Fake) SaveImages(_ context.Context, names []string) (io.ReadCloser, error) {
	type image struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	const config, layer = "config.json", "layer.tar"
	var manifest []image
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	for _, name := range names {
		if sha, ok := strings.CutPrefix(name, fakeRepository); !ok || !f.machine.images[sha] {
			return nil, fmt.Errorf("save images: %w: %s", cluster.ErrNoImage, name)
		}
		manifest = append(manifest, image{config, []string{name}, []string{layer}})
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return nil, fmt.Errorf("save images: %w", err)
	}
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for name, data := range map[string][]byte{config: []byte("{}"), layer: make([]byte, 1024), "manifest.json": text} {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data))}); err != nil {
			return nil, fmt.Errorf("save images: %w", err)
		}
		if _, err := archive.Write(data); err != nil {
			return nil, fmt.Errorf("save images: %w", err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("save images: %w", err)
	}
	return io.NopCloser(&out), nil
}

// checkPayload returns an error if a payload would have to be imported and has no files.
func (m *machine) checkPayload(p cluster.Payload) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.images[p.SHA] || p.Rootfs == "" {
		return nil
	}
	if _, err := os.Stat(p.Rootfs); err != nil {
		return fmt.Errorf("import the payload: %w", err)
	}
	return nil
}
