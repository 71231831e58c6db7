package registry

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

// maxManifest is how many bytes a manifest or configuration may have: what the specification has registries take at least.
const maxManifest = 4 << 20

// document is what the registry looks at in a manifest or index.
type document struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
}

// blobs are those that a manifest is made of. Layers that must not be distributed are elsewhere.
func (m document) blobs() []ocispec.Descriptor {
	var list []ocispec.Descriptor
	if m.Config != nil {
		list = append(list, *m.Config)
	}
	for _, l := range m.Layers {
		if !strings.Contains(l.MediaType, "nondistributable") && !strings.Contains(l.MediaType, "foreign") {
			list = append(list, l)
		}
	}
	return list
}

func (h handler) manifest(w http.ResponseWriter, r *http.Request, name, what string) error {
	isDigest := strings.Contains(what, ":")
	if isDigest {
		if _, err := parseDigest(what); err != nil {
			return err
		}
	} else if !isTag(what) {
		return refuse(http.StatusBadRequest, "TAG_INVALID", "%q is not a tag", what)
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return h.sendManifest(w, r, name, what)
	case http.MethodPut:
		return h.putManifest(w, r, name, what)
	case http.MethodDelete:
		err := h.locked(r.Context(), func() error { return h.repository(name).remove(what) })
		if errors.Is(err, cluster.ErrNoImage) {
			return unknown(name, what)
		}
		if err == nil {
			w.WriteHeader(http.StatusAccepted)
		}
		return err
	}
	return notAllowed(r)
}

func isTag(text string) bool {
	named, err := reference.WithName("localhost/a")
	if err == nil {
		_, err = reference.WithTag(named, text)
	}
	return err == nil
}

func unknown(name, what string) error {
	return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "there is no %s in %s", what, name)
}

func (h handler) sendManifest(w http.ResponseWriter, r *http.Request, name, what string) error {
	e, _, err := h.repository(name).find(what)
	var data []byte
	if err == nil {
		data, err = h.readBlob(e.Digest)
	}
	if errors.Is(err, cluster.ErrNoImage) || errors.Is(err, fs.ErrNotExist) {
		return unknown(name, what)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", e.MediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("Docker-Content-Digest", e.Digest.String())
	w.Header().Set("Etag", strconv.Quote(e.Digest.String()))
	if r.Method == http.MethodGet {
		_, err = w.Write(data)
	}
	if err != nil {
		h.log().Debug("a client was cut off", "path", r.URL.Path, "err", err)
	}
	return nil
}

func (h handler) putManifest(w http.ResponseWriter, r *http.Request, name, what string) error {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil {
		return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "the request was cut off")
	}
	if len(data) > maxManifest {
		return refuse(http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "the manifest has more than %d MB", maxManifest>>20)
	}
	e, m, err := parseManifest(data, r.Header.Get("Content-Type"))
	if err != nil {
		return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%v", err)
	}
	tag := what
	if want, err := digest.Parse(what); err == nil {
		tag = ""
		if e.Digest = want.Algorithm().FromBytes(data); e.Digest != want {
			return refuse(http.StatusBadRequest, "DIGEST_INVALID", "the manifest has digest %s, not %s", e.Digest, want)
		}
	}
	repo := h.repository(name)
	err = h.locked(r.Context(), func() error {
		if err := h.complete(repo, m); err != nil {
			return err
		}
		if err := h.writeBlob(e.Digest, data); err != nil {
			return err
		}
		return repo.put(e, tag)
	})
	if err != nil {
		return err
	}
	if m.Subject != nil {
		w.Header().Set("OCI-Subject", m.Subject.Digest.String())
	}
	return created(w, name, "manifests", e.Digest)
}

// parseManifest reads a manifest of that media type. An empty one is the manifest's own.
func parseManifest(data []byte, mediaType string) (entry, document, error) {
	var m document
	if err := json.Unmarshal(data, &m); err != nil {
		return entry{}, m, err
	}
	if mediaType == "" {
		mediaType = m.MediaType
	}
	switch {
	case !images.IsIndex(mediaType) && !images.IsManifest(mediaType):
		return entry{}, m, errors.New("media type " + strconv.Quote(mediaType) + " is not that of an image, as OCI or Docker have it")
	case m.MediaType != "" && m.MediaType != mediaType:
		return entry{}, m, errors.New("it is sent as " + strconv.Quote(mediaType) + " and says " + strconv.Quote(m.MediaType))
	case images.IsManifest(mediaType) && m.Config == nil:
		return entry{}, m, errors.New("it names no configuration")
	}
	e := entry{Descriptor: ocispec.Descriptor{
		MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data)), ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	}}
	if e.ArtifactType == "" && m.Config != nil {
		e.ArtifactType = m.Config.MediaType
	}
	if m.Subject != nil {
		e.Subject = m.Subject.Digest
	}
	return e, m, nil
}

// complete returns an error unless all that a manifest names has been pushed before it.
func (h handler) complete(repo repository, m document) error {
	for _, d := range m.blobs() {
		if d.Digest.Validate() != nil || !h.has(d.Digest) {
			return refuse(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "it names blob %q, which is not there", d.Digest)
		}
	}
	for _, d := range m.Manifests {
		_, _, err := repo.find(d.Digest.String())
		if d.Digest.Validate() != nil || errors.Is(err, cluster.ErrNoImage) {
			return refuse(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "it names manifest %q, which is not there", d.Digest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remove removes a tag or, with all its tags, a manifest; and the repository if nothing is left of it.
func (r repository) remove(reference string) error {
	if _, _, err := r.find(reference); err != nil {
		return err
	}
	if d, err := digest.Parse(reference); err == nil {
		tags, err := r.list("tags")
		if err != nil {
			return err
		}
		for _, tag := range tags {
			if e, _, err := r.find(tag); err == nil && e.Digest == d {
				if err := os.Remove(r.tagFile(tag)); err != nil {
					return err
				}
			}
		}
	}
	if err := os.Remove(r.file(reference)); err != nil {
		return err
	}
	r.tidy()
	return nil
}

// tidy removes the directories of a repository that has nothing. Those that have something cannot be removed.
func (r repository) tidy() {
	for _, dir := range []string{r.tagFile(""), r.manifestFile(""), r.dir} {
		_ = os.Remove(dir)
	}
}

// referrers lists the manifests that are about another one.
func (h handler) referrers(w http.ResponseWriter, r *http.Request, name, what string) error {
	if r.Method != http.MethodGet {
		return notAllowed(r)
	}
	subject, err := parseDigest(what)
	if err != nil {
		return err
	}
	repo := h.repository(name)
	list, err := repo.list("manifests")
	if err != nil {
		return err
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	kind := r.URL.Query().Get("artifactType")
	for _, reference := range list {
		e, _, err := repo.find(reference)
		if errors.Is(err, cluster.ErrNoImage) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return err
		}
		if e.Subject == subject && (kind == "" || kind == e.ArtifactType) {
			index.Manifests = append(index.Manifests, e.Descriptor)
		}
	}
	if kind != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	answer(w, http.StatusOK, index)
	return nil
}
