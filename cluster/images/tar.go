package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// tarSource is a docker-archive or an OCI layout in a tar.
type tarSource struct {
	file   *os.File
	extent map[string]extent        // of each regular file, by clean path
	links  map[string]string        // clean path of what a link stands for
	layers map[digest.Digest]string // path of each layer, by diff ID
}

// extent is where the content of a file is in a tar.
type extent struct{ offset, size int64 }

// Open opens an archive that ReadArchive has accepted. One that is compressed is decompressed to a temporary file, since a compressed
// tar cannot be read here and there.
func (a Archive) Open() (Source, error) {
	f, err := uncompressed(a.Path)
	if err != nil {
		return nil, err
	}
	s := &tarSource{file: f, extent: map[string]extent{}, links: map[string]string{}, layers: map[digest.Digest]string{}}
	if err := s.scan(); err != nil {
		return nil, errors.Join(archiveError(err), f.Close())
	}
	return s, nil
}

// uncompressed opens an archive as a plain tar.
func uncompressed(path string) (*os.File, error) {
	f, err := statefile.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := decompress(f)
	if err == nil {
		if _, plain := r.(interface{ Buffered() int }); plain { // decompress has only looked at it
			_, err = f.Seek(0, io.SeekStart)
			return f, err
		}
	}
	defer f.Close()
	if err != nil {
		return nil, err
	}
	temp, err := os.CreateTemp("", "kl-image-*.tar")
	if err != nil {
		return nil, err
	}
	os.Remove(temp.Name()) // it lives as long as it is open
	if _, err := io.Copy(temp, r); err != nil {
		return nil, errors.Join(archiveError(err), temp.Close())
	}
	_, err = temp.Seek(0, io.SeekStart)
	return temp, err
}

func (s *tarSource) Close() error { return s.file.Close() }

// scan notes where files are. The tar's reader reads no further than it has to.
func (s *tarSource) scan() error {
	for r := tar.NewReader(s.file); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			offset, err := s.file.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			s.extent[name] = extent{offset, h.Size}
		case tar.TypeSymlink:
			s.links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			s.links[name] = path.Clean(h.Linkname)
		}
	}
}

// open opens a file of the tar.
func (s *tarSource) open(name string) (*io.SectionReader, error) {
	name = path.Clean(name)
	for range maxDepth {
		if to, ok := s.links[name]; ok {
			name = to
		}
	}
	e, ok := s.extent[name]
	if !ok {
		return nil, fmt.Errorf("%w: %s is not in the archive", ErrParts, quoted(name))
	}
	return io.NewSectionReader(s.file, e.offset, e.size), nil
}

// read reads a JSON document of the tar.
func (s *tarSource) read(name string) ([]byte, error) {
	r, err := s.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > maxIndexSize {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrParts, quoted(name), r.Size())
	}
	return io.ReadAll(r)
}

func blobFile(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("%w: %s is not a digest", ErrParts, quoted(d.String()))
	}
	return "blobs/" + d.Algorithm().String() + "/" + d.Encoded(), nil
}

func (s *tarSource) Images(context.Context) ([]Image, error) {
	if _, layout := s.extent["oci-layout"]; layout {
		return s.fromLayout()
	}
	return s.fromDocker()
}

// fromLayout returns the images of an OCI layout. Descriptors of one digest are one image, with several names.
func (s *tarSource) fromLayout() ([]Image, error) {
	data, err := s.read("index.json")
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%w: read index.json: %w", ErrParts, err)
	}
	docker, err := s.dockerNames()
	if err != nil {
		return nil, err
	}
	read := Blobs(func(d ocispec.Descriptor) ([]byte, error) {
		file, err := blobFile(d.Digest)
		if err != nil {
			return nil, err
		}
		return s.read(file)
	})
	var images []Image
	for _, m := range index.Manifests {
		image, layers, err := read.Take(m)
		if err != nil {
			return nil, err
		}
		for i, l := range layers {
			file, err := blobFile(l.Digest)
			if err != nil {
				return nil, err
			}
			s.layers[image.Layers[i]] = file
		}
		named, _, err := ociImage{Digest: m.Digest.String(), Annotations: m.Annotations}.image()
		if err != nil {
			return nil, err
		}
		image.Names = named.Names
		config := digest.FromBytes(image.Blobs[len(image.Blobs)-1].Data)
		for _, name := range docker[config] {
			image.Names = appendNew(image.Names, name)
		}
		images = add(images, image)
	}
	return images, nil
}

// dockerNames returns the names in manifest.json, by the digest of the configuration: newer Dockers write it beside a layout.
func (s *tarSource) dockerNames() (map[digest.Digest][]string, error) {
	if _, ok := s.extent["manifest.json"]; !ok {
		return nil, nil
	}
	list, err := s.dockerManifest()
	names := map[digest.Digest][]string{}
	for _, m := range list {
		image, nameErr := m.image()
		err = errors.Join(err, nameErr)
		for _, d := range image.Digests {
			names[digest.Digest(d)] = append(names[digest.Digest(d)], image.Names...)
		}
	}
	return names, err
}

func (s *tarSource) dockerManifest() ([]dockerImage, error) {
	data, err := s.read("manifest.json")
	if err != nil {
		return nil, err
	}
	var list []dockerImage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%w: read manifest.json: %w", ErrParts, err)
	}
	return list, nil
}

// fromDocker returns the images of what `docker save` wrote before it knew OCI: configurations and layers, for which it makes manifests.
func (s *tarSource) fromDocker() ([]Image, error) {
	list, err := s.dockerManifest()
	if err != nil {
		return nil, err
	}
	var images []Image
	for _, d := range list {
		named, err := d.image()
		if err != nil {
			return nil, err
		}
		config, err := s.read(d.Config)
		if err != nil {
			return nil, err
		}
		image, err := s.manifestFor(config, d.Layers)
		if err != nil {
			return nil, err
		}
		image.Names = named.Names
		images = add(images, image)
	}
	return images, nil
}

// manifestFor makes the manifest of an image whose layers are files of the tar.
func (s *tarSource) manifestFor(config []byte, files []string) (Image, error) {
	var c ocispec.Image
	if err := json.Unmarshal(config, &c); err != nil {
		return Image{}, fmt.Errorf("%w: read configuration: %w", ErrParts, err)
	}
	if err := checkLayers(c, len(files)); err != nil {
		return Image{}, err
	}
	var layers []ocispec.Descriptor
	for i, id := range c.RootFS.DiffIDs {
		r, err := s.open(files[i])
		if err != nil {
			return Image{}, err
		}
		s.layers[id] = files[i]
		layers = append(layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: id, Size: r.Size()})
	}
	data, err := manifestOf(config, layers)
	if err != nil {
		return Image{}, err
	}
	return Image{Layers: c.RootFS.DiffIDs, ImageParts: cluster.ImageParts{Blobs: []cluster.Blob{
		{MediaType: ocispec.MediaTypeImageManifest, Data: data}, {MediaType: ocispec.MediaTypeImageConfig, Data: config},
	}}}, nil
}

func (s *tarSource) Layer(_ context.Context, id digest.Digest) (io.ReadCloser, error) {
	file, ok := s.layers[id]
	if !ok {
		return nil, fmt.Errorf("no image has layer %s", id)
	}
	r, err := s.open(file)
	if err != nil {
		return nil, err
	}
	return DecompressLayer(id, r, nil)
}

// DecompressLayer returns a layer as an uncompressed tar, whether it is compressed with gzip, with zstd or not at all. Closing it closes
// the file that it comes from, if that is given.
func DecompressLayer(id digest.Digest, compressed io.Reader, file io.Closer) (io.ReadCloser, error) {
	plain, err := decompress(compressed)
	l := closeAll{Reader: layerReader{plain, id}}
	if d, ok := plain.(interface{ Close() }); ok { // zstd's
		l.closers = append(l.closers, closer(d.Close))
	}
	if file != nil {
		l.closers = append(l.closers, file)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read layer %s: %w", id, err), l.Close())
	}
	return l, nil
}

// layerReader says which layer cannot be read.
type layerReader struct {
	io.Reader
	id digest.Digest
}

func (r layerReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read layer %s: %w", r.id, archiveError(err))
	}
	return n, err
}

// Blob implements BlobSource.
func (s *tarSource) Blob(_ context.Context, d digest.Digest) (io.ReadCloser, error) {
	file, err := blobFile(d)
	if err != nil {
		return nil, err
	}
	if _, ok := s.extent[file]; !ok {
		return nil, fmt.Errorf("read %s of the archive: %w", d, fs.ErrNotExist)
	}
	r, err := s.open(file)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}

type closer func()

func (c closer) Close() error {
	c()
	return nil
}

// add appends an image, or its names to the one that it is.
func add(images []Image, image Image) []Image {
	for i, have := range images {
		if bytes.Equal(have.Blobs[0].Data, image.Blobs[0].Data) {
			for _, name := range image.Names {
				images[i].Names = appendNew(images[i].Names, name)
			}
			return images
		}
	}
	return append(images, image)
}

func appendNew(names []string, name string) []string {
	for _, have := range names {
		if have == name {
			return names
		}
	}
	return append(names, name)
}
