// Package pull brings images to a node that its host finds: in the machine's container engine, in kl's registry, in registries of the
// network. The kubelet asks for them by the CRI's image service, of which [Server] answers a part.
package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/singleflight"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

const (
	findTimeout = 10 * time.Second // for the host to look at its machine; the network may take longer
	pullTimeout = 30 * time.Minute // for all of an image
	maxError    = 4096             // bytes of a host's reason
)

// Store is the part of the node's image store that a Puller uses, see package embedded/node/images.
type Store interface {
	Find(ctx context.Context, name string) (*images.Have, error)
	Import(ctx context.Context, archive io.Reader) ([]cluster.Image, error)
	Assemble(ctx context.Context, parts []cluster.ImageParts) ([]cluster.Image, error)
}

// Layers is the part of the store of layers that a Puller uses, see package embedded/node/layers.
type Layers interface {
	Use(ctx context.Context, id digest.Digest) (dir string, err error)
	Add(ctx context.Context, logger *slog.Logger, id digest.Digest, below []digest.Digest, tar io.Reader) error
}

// Puller brings images to a node. Its fields are set before it is used and not changed.
type Puller struct {
	Host      http.RoundTripper // to the host's finder, see package embedded/controlplane/images; it fails at once if there is no connection
	Store     Store
	Layers    Layers // nil if the node shares none: then it can take images of the engine alone
	EngineDir string // of images.OpenEngine
	Logger    *slog.Logger

	group singleflight.Group
}

// Pulled is what a pull has done.
type Pulled struct {
	Image     string        `json:"image"`     // full name
	From      string        `json:"source"`    // images.FromNode if the node had it
	ID        digest.Digest `json:"id"`        // digest of its configuration
	NewLayers int           `json:"newLayers"` // how many layers were unpacked
}

// ErrNotConnected is wrapped by errors of pulls while the host cannot be asked.
var ErrNotConnected = errors.New("the control plane cannot be asked for images")

// Pull brings an image to the node if the host has one that is newer. If network is set, registries of the network are asked, too, and
// shown auth. Without network, what the node has is taken if the host cannot tell of a newer one. The error wraps cluster.ErrNoImage, and
// says where it was looked for, if the image is nowhere; the image that the node has is returned with every error. Who pulls the same
// waits. A pull goes on if nobody waits for it any more.
func (p *Puller) Pull(ctx context.Context, name string, network bool, auth *images.Auth) (Pulled, error) {
	ref, err := reference.ParseDockerRef(name) // as the CRI plugin: a digest makes a tag needless
	if err != nil {
		return Pulled{}, fmt.Errorf("pull image %.200q: %w", name, err)
	}
	request := images.FindRequest{Name: ref.String(), Pull: network, Auth: auth}
	key, err := json.Marshal(request)
	if err != nil {
		return Pulled{}, err
	}
	done := p.group.DoChan(string(key), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pullTimeout)
		defer cancel()
		return p.pull(ctx, request)
	})
	select {
	case result := <-done:
		pulled, _ := result.Val.(Pulled)
		return pulled, result.Err
	case <-ctx.Done():
		return Pulled{}, fmt.Errorf("pull image %s: %w", request.Name, context.Cause(ctx))
	}
}

func (p *Puller) pull(ctx context.Context, r images.FindRequest) (Pulled, error) {
	have, err := p.Store.Find(ctx, r.Name)
	if err != nil {
		return Pulled{}, err
	}
	pulled := Pulled{Image: r.Name, From: images.FromNode}
	if have != nil {
		if pulled.ID = have.ID; strings.Contains(r.Name, "@") {
			return pulled, nil // nothing else can have that digest
		}
	}
	r.Have = have
	found, err := p.find(ctx, r)
	if err != nil && have != nil && !r.Pull {
		if !errors.Is(err, cluster.ErrNoImage) && !errors.Is(err, ErrNotConnected) {
			p.Logger.Warn("the node's image stays, since the control plane cannot look for a newer one", "image", r.Name, "reason", err)
		}
		return pulled, nil
	}
	if err != nil || found.From == images.FromNode {
		return pulled, err
	}
	pulled.From = found.From
	switch {
	case found.From == images.FromEngine:
		pulled.ID, pulled.NewLayers, err = p.fromEngine(ctx, r.Name, found)
	case found.Image == nil || found.Source == "":
		err = fmt.Errorf("the control plane answered without an image (from %.40q): is it of another version?", found.From)
	default:
		source := &hostSource{puller: p, source: found.Source}
		defer source.Close() //nolint:contextcheck // the host is told also when ctx is done
		found.Image.Names = []string{r.Name}
		pulled.ID = found.Image.ID()
		pulled.NewLayers, err = p.assemble(ctx, source, *found.Image, found.From, found.Tagged)
	}
	if err != nil {
		return pulled, fmt.Errorf("load %s from the %s: %w", images.Short(r.Name), place(found.From), err)
	}
	return pulled, nil
}

// place is what messages call where an image is from.
func place(from string) string {
	switch from {
	case images.FromEngine:
		return "container engine"
	case images.FromRegistry:
		return "registry of kl"
	}
	return "registry"
}

// fromEngine takes an image of the engine, out of its directory if it can be read there.
func (p *Puller) fromEngine(ctx context.Context, name string, found images.Found) (digest.Digest, int, error) {
	if p.Layers != nil {
		image, added, err := p.fromEngineDir(ctx, name, found)
		if err == nil || !errors.Is(err, images.ErrNoStore) && !errors.Is(err, images.ErrParts) {
			return image.ID(), added, err
		}
		p.Logger.Info("the engine saves a whole image", "image", name, "reason", err)
	}
	archive, err := p.get(ctx, "/v1/saved?"+url.Values{"name": {name}}.Encode())
	if err != nil {
		return "", 0, err
	}
	defer archive.Close()
	imported, err := p.Store.Import(ctx, archive)
	if err != nil {
		return "", 0, err
	}
	i := slices.IndexFunc(imported, func(i cluster.Image) bool { return slices.Contains(i.Names, name) })
	if i < 0 {
		return "", 0, errors.New("the engine saved another image")
	}
	return digest.Digest(imported[i].Config), 0, nil
}

// Load takes an image out of the engine's directory. The error wraps images.ErrNoStore or images.ErrParts if it cannot be had there.
func (p *Puller) Load(ctx context.Context, image images.EngineImage) (Pulled, error) {
	ref, err := reference.ParseDockerRef(image.Name)
	if err != nil {
		return Pulled{}, fmt.Errorf("load image %.200q: %w", image.Name, err)
	}
	name := ref.String()
	have, err := p.Store.Find(ctx, name)
	if err != nil {
		return Pulled{}, err
	}
	pulled := Pulled{Image: name, From: images.FromNode, ID: digest.Digest(image.ID)}
	if have != nil && (have.ID == pulled.ID || have.Digest == pulled.ID) {
		return pulled, nil
	}
	if p.Layers == nil {
		return Pulled{}, fmt.Errorf("%w: the node shares no layers", images.ErrNoStore)
	}
	pulled.From = images.FromEngine
	taken, added, err := p.fromEngineDir(ctx, image.Name, images.Found{From: images.FromEngine, ID: image.ID})
	if err != nil {
		return Pulled{}, err
	}
	if pulled.ID, pulled.NewLayers = taken.ID(), added; len(taken.Names) == 0 { // it was named by its ID
		pulled.Image = pulled.ID.String()
	}
	return pulled, nil
}

func (p *Puller) fromEngineDir(ctx context.Context, name string, found images.Found) (images.Image, int, error) {
	source, err := images.OpenEngine(p.EngineDir, []images.EngineImage{{Name: name, ID: found.ID}})
	if err != nil {
		return images.Image{}, 0, err
	}
	defer source.Close()
	list, err := source.Images(ctx)
	if err != nil {
		return images.Image{}, 0, err
	}
	if len(list) != 1 {
		return images.Image{}, 0, fmt.Errorf("%w: the engine has %d of them", images.ErrParts, len(list))
	}
	added, err := p.assemble(ctx, source, list[0], found.From, found.Tagged)
	return list[0], added, err
}

// assemble unpacks the layers of an image that are not on the machine, and makes the image of all.
func (p *Puller) assemble(ctx context.Context, source images.Source, image images.Image, from string, since time.Time) (added int, err error) {
	if p.Layers == nil {
		return 0, errors.New("the file system of the node's directory of layers cannot hold any")
	}
	for i, id := range image.Layers {
		dir, err := p.Layers.Use(ctx, id)
		if err != nil {
			return added, err
		}
		if dir != "" {
			continue
		}
		unpacked, err := p.add(ctx, source, image.Layers[:i], id)
		if err != nil {
			return added, err
		}
		if unpacked {
			added++
		}
	}
	parts := image.ImageParts
	parts.Since, parts.Source = since, from
	_, err = p.Store.Assemble(ctx, []cluster.ImageParts{parts})
	return added, err
}

// add unpacks a layer over others, and reports whether it did: another node may do so at the same time.
func (p *Puller) add(ctx context.Context, source images.Source, over []digest.Digest, id digest.Digest) (bool, error) {
	layer, err := source.Layer(ctx, id)
	if err != nil {
		return false, err
	}
	defer layer.Close()
	below := slices.Clone(over)
	slices.Reverse(below)
	tar := &noted{Reader: layer}
	err = p.Layers.Add(ctx, p.Logger, id, below, tar)
	return tar.read, err
}

// noted is a reader that knows whether it was read.
type noted struct {
	io.Reader
	read bool
}

func (n *noted) Read(p []byte) (int, error) {
	n.read = true
	return n.Reader.Read(p)
}

// find asks the host for an image.
func (p *Puller) find(ctx context.Context, r images.FindRequest) (images.Found, error) {
	if !r.Pull {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, findTimeout)
		defer cancel()
	}
	body, err := json.Marshal(r)
	if err != nil {
		return images.Found{}, err
	}
	answer, err := p.request(ctx, http.MethodPost, "/v1/find", bytes.NewReader(body))
	if err != nil {
		return images.Found{}, err
	}
	defer answer.Close()
	var found images.Found
	if err := json.NewDecoder(answer).Decode(&found); err != nil {
		return images.Found{}, fmt.Errorf("%w: read its answer: %w", ErrNotConnected, err) // it ended meanwhile
	}
	return found, nil
}

func (p *Puller) get(ctx context.Context, path string) (io.ReadCloser, error) {
	return p.request(ctx, http.MethodGet, path, http.NoBody)
}

func (p *Puller) request(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://host"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := p.Host.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotConnected, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotConnected, err)
	}
	return nil, &hostError{text: strings.TrimSpace(string(text)), status: resp.StatusCode}
}

// hostError is what the host answered, in its words.
type hostError struct {
	text   string
	status int
}

func (e *hostError) Error() string { return e.text }

func (e *hostError) Is(target error) bool {
	switch target {
	case cluster.ErrNoImage:
		return e.status == http.StatusNotFound
	case ErrNotConnected:
		return e.status == http.StatusServiceUnavailable // it is starting
	}
	return false
}

// hostSource reads layers from the host.
type hostSource struct {
	puller *Puller
	source string
}

// Images is not needed: the host sent the image.
func (*hostSource) Images(context.Context) ([]images.Image, error) { return nil, errors.ErrUnsupported }

// Layer implements images.Source.
func (s *hostSource) Layer(ctx context.Context, id digest.Digest) (io.ReadCloser, error) {
	return s.puller.get(ctx, "/v1/sources/"+s.source+"/layers/"+id.String())
}

// Close tells the host that it need not keep the source open. If it does not hear that, it closes it later.
func (s *hostSource) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), findTimeout)
	defer cancel()
	answer, err := s.puller.request(ctx, http.MethodDelete, "/v1/sources/"+s.source, http.NoBody)
	if err != nil {
		return err
	}
	return answer.Close()
}
