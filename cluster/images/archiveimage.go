package images

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// ArchiveImage is one image of a docker-archive or OCI tar, as far as its index describes it.
type ArchiveImage struct {
	Names   []string // as a container runtime spells them: docker.io/library/app:1
	Digests []string // of the manifest or of the configuration, whichever the archive names
}

// dockerImage is an element of manifest.json, which `docker save` writes.
type dockerImage struct {
	Config   string // <hex>.json, blobs/sha256/<hex> or, from ko and crane, sha256:<hex>
	RepoTags []string
	Layers   []string
}

func (m dockerImage) image() (ArchiveImage, error) {
	if m.Config == "" {
		return ArchiveImage{}, errors.New("names an image without a configuration")
	}
	image := ArchiveImage{Digests: []string{"sha256:" + strings.TrimPrefix(strings.TrimSuffix(path.Base(m.Config), ".json"), "sha256:")}}
	for _, tag := range m.RepoTags {
		name, err := fullName(tag)
		if err != nil {
			return ArchiveImage{}, err
		}
		image.Names = append(image.Names, name)
	}
	return image, nil
}

// ociImage is an element of the index of an OCI layout.
type ociImage struct {
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations"`
}

// image returns the image and the file of the archive that describes it.
func (m ociImage) image() (image ArchiveImage, file string, err error) {
	d, err := digest.Parse(m.Digest)
	if err != nil {
		return ArchiveImage{}, "", fmt.Errorf("names %s, which is not a digest", quoted(m.Digest))
	}
	image = ArchiveImage{Digests: []string{m.Digest}}
	name := m.Annotations["io.containerd.image.name"]
	if ref := m.Annotations["org.opencontainers.image.ref.name"]; name == "" && strings.ContainsAny(ref, ":/") {
		name = ref // else it is a tag without a name, which no runtime can use
	}
	if name != "" {
		full, err := fullName(name)
		if err != nil {
			return ArchiveImage{}, "", err
		}
		image.Names = []string{full}
	}
	return image, "blobs/" + d.Algorithm().String() + "/" + d.Encoded(), nil
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

// FullName returns a name as container runtimes ask for it. Of a name with tag and digest only the digest counts.
func FullName(name string) (string, error) {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", fmt.Errorf("%s is not the name of an image: %w", quoted(name), err)
	}
	return ref.String(), nil
}

// fullName returns a name as container runtimes write it: app becomes docker.io/library/app:latest, and one with a tag and a digest loses
// its tag.
func fullName(name string) (string, error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", fmt.Errorf("names an image %s: %w", quoted(name), err)
	}
	return named.String(), nil
}

// OnNode reports whether a node has the image under all its names.
func (a ArchiveImage) OnNode(images []cluster.Image) bool {
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
