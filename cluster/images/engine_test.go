package images_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/images"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"
)

// engine is a directory as a Docker engine with the storage driver overlay2 has it.
type engine struct {
	t   *testing.T
	dir string
}

func (e engine) write(path string, data []byte) {
	e.t.Helper()
	file := filepath.Join(e.dir, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// add stores an image of layers, as the engine does, and returns its ID and the layers' diff IDs.
func (e engine) add(layers ...[]byte) (id string, ids []digest.Digest) {
	e.t.Helper()
	for i, layer := range layers {
		ids = append(ids, digest.FromBytes(layer))
		e.layer(identity.ChainID(ids).Encoded(), fmt.Sprint("cache", i), layer)
	}
	config, err := json.Marshal(ocispec.Image{Platform: here, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: ids}})
	if err != nil {
		e.t.Fatal(err)
	}
	d := digest.FromBytes(config)
	e.write("image/overlay2/imagedb/content/sha256/"+d.Encoded(), config)
	return d.String(), ids
}

func (e engine) layer(chain, cache string, layer []byte) {
	e.t.Helper()
	var split bytes.Buffer
	z := gzip.NewWriter(&split)
	stream, done, err := asm.NewInputTarStreamWithDone(bytes.NewReader(layer), storage.NewJSONPacker(z), storage.NewDiscardFilePutter())
	if err != nil {
		e.t.Fatal(err)
	}
	files, size := tar.NewReader(stream), int64(0)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			e.t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(files)
		if err != nil {
			e.t.Fatal(err)
		}
		e.write(filepath.Join("overlay2", cache, "diff", h.Name), data)
		size += h.Size
	}
	if _, err := io.Copy(io.Discard, stream); err != nil {
		e.t.Fatal(err)
	}
	if err := <-done; err != nil {
		e.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		e.t.Fatal(err)
	}
	e.write("image/overlay2/layerdb/sha256/"+chain+"/cache-id", []byte(cache))
	e.write("image/overlay2/layerdb/sha256/"+chain+"/size", fmt.Append(nil, size))
	e.write("image/overlay2/layerdb/sha256/"+chain+"/tar-split.json.gz", split.Bytes())
}

// padded is a layer as some tools write it: with directories, links, an unusual time and bytes behind its end.
func padded(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "etc/link", Typeflag: tar.TypeSymlink, Linkname: "../../../etc/passwd"},
		{Name: "etc/name", Typeflag: tar.TypeReg, Mode: 0o600, Size: 5, ModTime: time.Unix(123, 456), Format: tar.FormatPAX},
		{Name: "etc/hard", Typeflag: tar.TypeLink, Linkname: "etc/name"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, "hello"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), make([]byte, 5000)...)
}

func TestEngine(t *testing.T) {
	e := engine{t, t.TempDir()}
	layers := [][]byte{clustertest.Tar(clustertest.File("a", "1")), padded(t), clustertest.Tar(clustertest.File("a", "2"))}
	id, ids := e.add(layers...)
	s, err := images.OpenEngine(e.dir, []images.EngineImage{{"app:dev", id}, {"example.com/app", id}, {digest.Digest(id).Encoded()[:12], id}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := s.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || !cmp.Equal(got[0].Names, []string{"docker.io/library/app:dev", "example.com/app:latest"}) || !cmp.Equal(got[0].Layers, ids) {
		t.Errorf("images %+v", got)
	}
	exact, err := images.Exact(t.Context(), s, got[0])
	if err != nil {
		t.Fatal(err)
	}
	var sizes int64
	for _, l := range layers {
		sizes += int64(len(l))
	}
	if size, err := exact.Size(); err != nil || size != sizes {
		t.Errorf("the layers have %d bytes, %v, want %d", size, err, sizes)
	}
	for i, id := range ids {
		if data := readLayer(t, s, id); !bytes.Equal(data, layers[i]) {
			t.Errorf("layer %d has %d bytes, want %d", i, len(data), len(layers[i]))
		}
	}
	if _, err := s.Layer(t.Context(), digest.FromString("another")); err == nil {
		t.Error("it has a layer of no image")
	}
}

func readLayer(t *testing.T, s images.Source, id digest.Digest) []byte {
	t.Helper()
	r, err := s.Layer(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

// An image that was pulled has a name by the digest that its registry gave it, which the engine vouches for.
func TestEngineByDigest(t *testing.T) {
	e := engine{t, t.TempDir()}
	id, _ := e.add(clustertest.Tar(clustertest.File("a", "1")))
	const want = "docker.io/library/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	s, err := images.OpenEngine(e.dir, []images.EngineImage{{Name: want, ID: id}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	list, err := s.Images(t.Context())
	if err != nil || len(list) != 1 || !slices.Equal(list[0].Names, []string{want}) {
		t.Errorf("images are %+v, %v", list, err)
	}
}

// TestEngineBad: a directory that is not the engine's, or not as it says, is not read.
func TestEngineBad(t *testing.T) {
	e := engine{t, t.TempDir()}
	id, ids := e.add(clustertest.Tar(clustertest.File("a", "1")))
	for name, i := range map[string]images.EngineImage{
		"no such image": {"app", digest.FromString("x").String()}, "not a digest": {"app", "../../x"},
	} {
		if _, err := images.OpenEngine(e.dir, []images.EngineImage{i}); !errors.Is(err, images.ErrNoStore) {
			t.Errorf("%s: %v, want ErrNoStore", name, err)
		}
	}
	if _, err := images.OpenEngine(filepath.Join(e.dir, "none"), nil); !errors.Is(err, images.ErrNoStore) {
		t.Errorf("no directory: %v, want ErrNoStore", err)
	}
	// The files of the layer lie outside of the engine's directory.
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "a"), []byte("2"), 0o600); err != nil {
		t.Fatal(err)
	}
	diff := filepath.Join(e.dir, "overlay2/cache0/diff")
	if err := errors.Join(os.RemoveAll(diff), os.Symlink(outside, diff)); err != nil {
		t.Fatal(err)
	}
	s, err := images.OpenEngine(e.dir, []images.EngineImage{{"app", id}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Images(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Layer(t.Context(), ids[0]); err == nil {
		t.Error("a link led out of the engine's directory")
	}
	e.write("image/overlay2/imagedb/content/sha256/"+digest.Digest(id).Encoded(), []byte("{}"))
	if _, err := images.OpenEngine(e.dir, []images.EngineImage{{"app", id}}); !errors.Is(err, images.ErrNoStore) {
		t.Errorf("a changed configuration: %v, want ErrNoStore", err)
	}
}
