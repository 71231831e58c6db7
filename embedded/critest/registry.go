package critest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// registry serves images by the distribution protocol, on a loopback address, whatever registry they are asked from. Images are
// added before it serves.
type registry struct {
	manifests map[string]digest.Digest // by repository:tag
	blobs     map[digest.Digest][]byte // manifests, too
}

func newRegistry() *registry {
	return &registry{manifests: map[string]digest.Digest{}, blobs: map[digest.Digest][]byte{}}
}

func (r *registry) blob(b []byte) digest.Digest {
	sum := sha256.Sum256(b)
	d := digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(sum[:]))
	r.blobs[d] = b
	return d
}

// add makes an image of uncompressed layers under names of the form repository:tag.
func (r *registry) add(image v1.Image, layers [][]byte, names ...string) error {
	image.RootFS = v1.RootFS{Type: "layers"}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, l := range layers {
		d := r.blob(l)
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, d)
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: d, Size: int64(len(l))})
	}
	config, err := json.Marshal(image)
	if err != nil {
		return err
	}
	m.Config = v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: r.blob(config), Size: int64(len(config))}
	manifest, err := json.Marshal(m)
	if err != nil {
		return err
	}
	d := r.blob(manifest)
	for _, name := range names {
		r.manifests[name] = d
	}
	return nil
}

// serve starts to serve, and returns the address and what ends it.
func (r *registry) serve() (addr string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // does not block
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }() // ends with Close
	return l.Addr().String(), s.Close, nil
}

// ServeHTTP implements http.Handler.
func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	path, ok := strings.CutPrefix(req.URL.Path, "/v2/")
	if !ok {
		http.NotFound(w, req)
		return
	}
	if path == "" {
		return
	}
	media := "application/octet-stream"
	var d digest.Digest
	if repository, reference, ok := strings.Cut(path, "/manifests/"); ok {
		media, d = v1.MediaTypeImageManifest, r.manifests[repository+":"+reference]
		if d == "" {
			d = digest.Digest(reference)
		}
	} else if _, reference, ok := strings.Cut(path, "/blobs/"); ok {
		d = digest.Digest(reference)
	}
	b, ok := r.blobs[d]
	if !ok {
		http.Error(w, fmt.Sprintf("kl-critest makes no image %s", path), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Docker-Content-Digest", string(d))
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if req.Method != http.MethodHead {
		_, _ = w.Write(b) // whoever asked is gone
	}
}
