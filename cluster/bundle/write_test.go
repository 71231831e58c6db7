package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/images"
)

// itemsOf are the images of an archive.
func itemsOf(t *testing.T, data []byte) []Item {
	t.Helper()
	path := filepath.Join(t.TempDir(), "images.tar")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := images.Archive{Path: path}.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close() })
	list, err := source.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var items []Item
	for _, i := range list {
		items = append(items, Item{Image: i, From: source})
	}
	return items
}

func TestWrite(t *testing.T) {
	docker := itemsOf(t, clustertest.Tar(clustertest.DockerArchive("app:1", "other:1")...))
	oci := itemsOf(t, clustertest.Tar(clustertest.OCIArchive("docker.io/library/app:2")...))
	items := append(docker, oci...)
	var first bytes.Buffer
	written, err := Write(t.Context(), &first, items, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Both archives have the same layer.
	if written.Images != 1 && written.Images != 2 || written.Layers != 1 {
		t.Errorf("written: %+v", written)
	}
	slices.Reverse(items)
	var second bytes.Buffer
	if _, err := Write(t.Context(), &second, items, nil); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("other bytes for the same images in another order (%v)", err)
	}
	path := filepath.Join(t.TempDir(), "b.tar.zst")
	if err := os.WriteFile(path, first.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := images.ReadArchive(path); err != nil {
		t.Fatalf("read the bundle: %v", err)
	}
	var names []string
	for _, i := range itemsOf(t, first.Bytes()) {
		names = append(names, i.Names...)
		for _, id := range i.Layers {
			layer, err := i.From.Layer(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := digest.FromReader(layer); err != nil || got != id {
				t.Errorf("layer %s has digest %s, %v", id, got, err)
			}
			layer.Close()
		}
	}
	slices.Sort(names)
	if d := cmp.Diff([]string{"docker.io/library/app:1", "docker.io/library/app:2", "docker.io/library/other:1"}, names); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	z, err := zstd.NewReader(&first)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var files []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(files, h.Name) || h.ModTime.Unix() > 0 || h.Uid != 0 {
			t.Errorf("entry %+v", h)
		}
		files = append(files, h.Name)
	}
}

// badSource gives other layers than it should.
type badSource struct {
	images.Source
	layer string
	err   error
}

func (s badSource) Layer(context.Context, digest.Digest) (io.ReadCloser, error) {
	if s.err != nil {
		return nil, s.err
	}
	return io.NopCloser(io.MultiReader(strings.NewReader(s.layer), iotestErr{s.err})), nil
}

type iotestErr struct{ err error }

func (e iotestErr) Read([]byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	return 0, io.EOF
}

// rawSource gives other blobs than it should.
type rawSource struct {
	images.Source
	blob string
}

func (s rawSource) Blob(context.Context, digest.Digest) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(s.blob)), nil
}

func TestWriteBad(t *testing.T) {
	item := itemsOf(t, clustertest.Tar(clustertest.OCIArchive("docker.io/library/app:1")...))[0]
	layer := string(clustertest.Tar(clustertest.File("hello", "hello\n")))
	for name, tt := range map[string]struct {
		from images.Source
		want string
	}{
		"damaged layer":        {badSource{layer: "x" + layer[1:]}, "it is damaged: its content has another digest"},
		"layer that is gone":   {badSource{err: errors.New("the engine has gone away")}, "the engine has gone away"},
		"damaged blob":         {rawSource{blob: "x" + layer[1:]}, "it is damaged: its content has another digest"},
		"blob that is cut off": {rawSource{blob: layer[:len(layer)-1]}, "it does not have the"},
		"blob with more":       {rawSource{blob: layer + "x"}, "it does not have the"},
	} {
		item.From = tt.from
		_, err := Write(t.Context(), io.Discard, []Item{item}, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "app:1: layer sha256:") {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	item.From = badSource{layer: layer}
	if _, err := Write(ctx, io.Discard, []Item{item}, nil); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("canceled: %v", err)
	}
}
