package images

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klkube/kl/cluster"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"
)

// EngineImage is an image of a Docker engine.
type EngineImage struct {
	Name string `json:"name"` // as the user wrote it
	ID   string `json:"id"`   // the engine's: the digest of the configuration or, if it keeps images in a containerd, of the index or manifest
}

// target is what the image begins with in a content store.
func (i EngineImage) target() digest.Digest {
	if _, d, ok := strings.Cut(i.Name, "@"); ok {
		return digest.Digest(d)
	}
	return digest.Digest(i.ID)
}

// names are those that a container runtime knows the image by: none if the user named it by its ID.
func (i EngineImage) names() ([]string, error) {
	if strings.HasPrefix(strings.TrimPrefix(i.ID, "sha256:"), strings.TrimPrefix(i.Name, "sha256:")) {
		return nil, nil
	}
	name, err := fullName(i.Name)
	return []string{name}, err
}

// engineSource reads images out of the directory of a Docker engine. Newer ones keep them in a containerd. Others keep them as files (storage
// driver overlay2), with what each layer's tar was like besides the content of files, so that the same tar can be made again
// (github.com/vbatts/tar-split).
type engineSource struct {
	root    *os.Root // the engine's directory, which no link leads out of
	images  []EngineImage
	content *contentStore                   // nil if there is none
	chains  map[digest.Digest]digest.Digest // by diff ID: what the engine calls the layer there
}

// ErrNoStore is returned by OpenEngine for a directory that it cannot read images out of.
var ErrNoStore = errors.New("the engine's images cannot be read out of its directory")

// Where the engine keeps what, below its directory.
const (
	engineConfigs = "image/overlay2/imagedb/content/sha256"
	engineLayers  = "image/overlay2/layerdb/sha256"
	engineFiles   = "overlay2"
)

// OpenEngine opens images in the directory of an engine, or in that of its containerd. Only root can read these.
func OpenEngine(dir string, images []EngineImage) (Source, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoStore, err)
	}
	s := &engineSource{root: root, images: images, content: openContent(root), chains: map[digest.Digest]digest.Digest{}}
	for _, i := range images {
		if err := s.find(i); err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", ErrNoStore, err), s.Close())
		}
	}
	return s, nil
}

func (s *engineSource) Close() error { return errors.Join(s.content.Close(), s.root.Close()) }

// find returns an error if an image is not there: the directory may be another machine's engine's, or that of one with another storage driver.
func (s *engineSource) find(i EngineImage) error {
	if s.content.has(i.target()) {
		return nil
	}
	_, _, err := s.config(i)
	return err
}

// config reads the configuration of an image.
func (s *engineSource) config(i EngineImage) (data []byte, c ocispec.Image, err error) {
	id := digest.Digest(i.ID)
	if err := id.Validate(); err != nil {
		return nil, c, fmt.Errorf("image %s has ID %s: %w", i.Name, quoted(i.ID), err)
	}
	data, err = s.root.ReadFile(filepath.Join(engineConfigs, id.Encoded()))
	if err != nil {
		return nil, c, err
	}
	if got := digest.FromBytes(data); got != id {
		return nil, c, fmt.Errorf("the configuration of image %s has digest %s, and its ID is %s", i.Name, got, id)
	}
	return data, c, json.Unmarshal(data, &c)
}

func (s *engineSource) Images(context.Context) ([]Image, error) {
	var images []Image
	for _, i := range s.images {
		read := s.image
		if target := i.target(); s.content.has(target) {
			read = func(EngineImage) (Image, error) { return s.content.image(target) }
		}
		image, err := read(i)
		if err == nil {
			image.Names, err = i.names()
		}
		if err != nil {
			return nil, fmt.Errorf("read image %s of the engine: %w", i.Name, err)
		}
		images = add(images, image)
	}
	return images, nil
}

// image makes an image of what the storage driver overlay2 keeps.
func (s *engineSource) image(i EngineImage) (Image, error) {
	data, c, err := s.config(i)
	if err != nil {
		return Image{}, err
	}
	if err := checkLayers(c, len(c.RootFS.DiffIDs)); err != nil {
		return Image{}, err
	}
	manifest, err := s.manifest(data, c.RootFS.DiffIDs)
	if err != nil {
		return Image{}, err
	}
	return Image{Layers: c.RootFS.DiffIDs, ImageParts: cluster.ImageParts{Blobs: []cluster.Blob{
		{MediaType: ocispec.MediaTypeImageManifest, Data: manifest}, {MediaType: ocispec.MediaTypeImageConfig, Data: data},
	}}}, nil
}

// manifest makes the manifest of an image, which the engine has none for, as for an archive.
func (s *engineSource) manifest(config []byte, ids []digest.Digest) ([]byte, error) {
	var layers []ocispec.Descriptor
	for i, id := range ids {
		chain := identity.ChainID(ids[:i+1])
		s.chains[id] = chain
		text, err := s.text(chain, "size")
		if err != nil {
			return nil, err
		}
		var size int64
		if _, err := fmt.Sscan(text, &size); err != nil {
			return nil, fmt.Errorf("read the size of layer %s: %w", id, err)
		}
		layers = append(layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: id, Size: size})
	}
	return manifestOf(config, layers)
}

// manifestOf makes a manifest of layers that are not compressed.
func manifestOf(config []byte, layers []ocispec.Descriptor) ([]byte, error) {
	return json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: layers,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
	})
}

// text reads a small file about a layer.
func (s *engineSource) text(chain digest.Digest, file string) (string, error) {
	data, err := s.root.ReadFile(filepath.Join(engineLayers, chain.Encoded(), file))
	return strings.TrimSpace(string(data)), err
}

// Layer decompresses a layer, or makes its tar again. Whoever reads it checks its digest.
func (s *engineSource) Layer(_ context.Context, id digest.Digest) (io.ReadCloser, error) {
	if s.content != nil {
		if _, ok := s.content.layers[id]; ok {
			return s.content.layer(id)
		}
	}
	chain, ok := s.chains[id]
	if !ok {
		return nil, fmt.Errorf("no image has layer %s", id)
	}
	fail := func(err error) (io.ReadCloser, error) {
		return nil, fmt.Errorf("read layer %s of the engine: %w", id, err)
	}
	cache, err := s.text(chain, "cache-id")
	if err != nil {
		return fail(err)
	}
	files, err := s.root.OpenRoot(filepath.Join(engineFiles, cache, "diff"))
	if err != nil {
		return fail(err)
	}
	split, err := s.root.Open(filepath.Join(engineLayers, chain.Encoded(), "tar-split.json.gz"))
	if err != nil {
		return fail(errors.Join(err, files.Close()))
	}
	unzipped, err := gzip.NewReader(split)
	if err != nil {
		return fail(errors.Join(err, split.Close(), files.Close()))
	}
	tar := asm.NewOutputTarStream(fileGetter{files}, storage.NewJSONUnpacker(unzipped))
	return closeAll{tar, []io.Closer{tar, unzipped, split, files}}, nil
}

// Blob implements BlobSource.
func (s *engineSource) Blob(_ context.Context, d digest.Digest) (io.ReadCloser, error) {
	if !s.content.has(d) {
		return nil, fmt.Errorf("read %s of the engine: %w", d, fs.ErrNotExist)
	}
	f, _, err := s.content.open(d)
	return f, err
}

// fileGetter opens the files of a layer by the names in its tar. No link leads out of the layer.
type fileGetter struct{ root *os.Root }

func (g fileGetter) Get(name string) (io.ReadCloser, error) {
	f, err := g.root.Open(strings.TrimLeft(filepath.Clean(name), "/"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the engine has lost %s: %w", quoted(name), err)
	}
	return f, err
}

// closeAll is a reader that closes what it reads from.
type closeAll struct {
	io.Reader
	closers []io.Closer
}

func (c closeAll) Close() error {
	var errs []error
	for _, closer := range c.closers {
		errs = append(errs, closer.Close())
	}
	return errors.Join(errs...)
}
