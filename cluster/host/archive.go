package host

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"

	"github.com/distribution/reference"
)

// ArchiveImage is one image of a docker-archive or OCI tar, as far as its index describes it.
type ArchiveImage struct {
	Names   []string // as a container runtime spells them: docker.io/library/app:1
	Digests []string // of the manifest or of the configuration, whichever the archive names
}

// ErrNotArchive is returned for a file that holds no images.
var ErrNotArchive = errors.New("not a docker-archive or OCI tar")

const maxIndexSize = 8 << 20

// openArchive opens a tar that may be compressed with gzip.
func openArchive(file string) (io.ReadCloser, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewReaderSize(f, 1<<20)
	magic, _ := buffered.Peek(2)
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return readCloser{buffered, f}, nil
	}
	z, err := gzip.NewReader(buffered)
	if err != nil {
		f.Close()
		return nil, err
	}
	return readCloser{z, f}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// ReadArchive lists the images of an archive.
func ReadArchive(file string) ([]ArchiveImage, error) {
	r, err := openArchive(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var images []ArchiveImage
	for entries := tar.NewReader(r); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotArchive, err)
		}
		var found []ArchiveImage
		switch path.Clean(header.Name) {
		case "manifest.json":
			found, err = dockerImages(io.LimitReader(entries, maxIndexSize))
		case "index.json":
			found, err = ociImages(io.LimitReader(entries, maxIndexSize))
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", header.Name, err)
		}
		images = merge(images, found)
	}
	if len(images) == 0 {
		return nil, ErrNotArchive
	}
	return images, nil
}

// dockerImages reads what `docker save` writes.
func dockerImages(r io.Reader) ([]ArchiveImage, error) {
	var list []struct {
		Config   string // <hex>.json, blobs/sha256/<hex> or, from ko and crane, sha256:<hex>
		RepoTags []string
	}
	if err := json.NewDecoder(r).Decode(&list); err != nil {
		return nil, err
	}
	var images []ArchiveImage
	for _, m := range list {
		image := ArchiveImage{Digests: []string{"sha256:" + strings.TrimPrefix(strings.TrimSuffix(path.Base(m.Config), ".json"), "sha256:")}}
		for _, tag := range m.RepoTags {
			name, err := fullName(tag)
			if err != nil {
				return nil, err
			}
			image.Names = append(image.Names, name)
		}
		images = append(images, image)
	}
	return images, nil
}

// ociImages reads the index of an OCI layout.
func ociImages(r io.Reader) ([]ArchiveImage, error) {
	var index struct {
		Manifests []struct {
			Digest      string            `json:"digest"`
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.NewDecoder(r).Decode(&index); err != nil {
		return nil, err
	}
	var images []ArchiveImage
	for _, m := range index.Manifests {
		image := ArchiveImage{Digests: []string{m.Digest}}
		name := m.Annotations["io.containerd.image.name"]
		if ref := m.Annotations["org.opencontainers.image.ref.name"]; name == "" && strings.ContainsAny(ref, ":/") {
			name = ref // else it is a tag without a name, which no runtime can use
		}
		if name != "" {
			full, err := fullName(name)
			if err != nil {
				return nil, err
			}
			image.Names = []string{full}
		}
		images = append(images, image)
	}
	return images, nil
}

// merge joins what two indexes of one archive say about the same image: newer Dockers write both.
func merge(images, found []ArchiveImage) []ArchiveImage {
	for _, f := range found {
		i := slices.IndexFunc(images, func(have ArchiveImage) bool {
			return slices.ContainsFunc(f.Names, func(name string) bool { return slices.Contains(have.Names, name) })
		})
		if i < 0 {
			images = append(images, f)
			continue
		}
		for _, name := range f.Names {
			if !slices.Contains(images[i].Names, name) {
				images[i].Names = append(images[i].Names, name)
			}
		}
		images[i].Digests = append(images[i].Digests, f.Digests...)
	}
	return images
}

// fullName returns a name as container runtimes write it: app becomes docker.io/library/app:latest.
func fullName(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("parse image name %q: %w", name, err)
	}
	return reference.TagNameOnly(named).String(), nil
}

// onNode reports whether a node has the image under all its names.
func (a ArchiveImage) onNode(images []cluster.Image) bool {
	same := func(i cluster.Image) bool {
		return slices.ContainsFunc(a.Digests, func(d string) bool {
			return d == i.Digest || d == i.Config || slices.Contains(i.Names, d)
		})
	}
	if len(a.Names) == 0 {
		return slices.ContainsFunc(images, same)
	}
	for _, name := range a.Names {
		if !slices.ContainsFunc(images, func(i cluster.Image) bool { return same(i) && slices.Contains(i.Names, name) }) {
			return false
		}
	}
	return true
}
