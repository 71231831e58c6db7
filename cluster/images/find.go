package images

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
)

// Auth is what a registry is shown, as a pod's imagePullSecrets have it. One of its forms is set.
type Auth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	Auth          string `json:"auth,omitempty"`          // base64 of username:password
	IdentityToken string `json:"identityToken,omitempty"` // of which the registry makes an access token
	RegistryToken string `json:"registryToken,omitempty"` // an access token
}

// FindRequest is what a node asks its host for an image with: POST /v1/find. The answer is Found, or 404 and why as plain text.
type FindRequest struct {
	Name string `json:"name"`           // full, with a tag or a digest
	Pull bool   `json:"pull"`           // ask registries of the network, too
	Auth *Auth  `json:"auth,omitempty"` // for these; nil for what the user has
	Have *Have  `json:"have,omitempty"` // what the node has under the name; nil if nothing
}

// Have is an image that a node has.
type Have struct {
	ID     digest.Digest `json:"id"`     // digest of its configuration
	Digest digest.Digest `json:"digest"` // of its index or manifest
	Since  time.Time     `json:"since"`
}

// Where an image was found.
const (
	FromNode     = "node"     // the node has it already
	FromEngine   = "engine"   // the container engine of the machine, see OpenEngine and GET /v1/saved
	FromRegistry = "registry" // kl's own registry
	FromUpstream = "upstream" // another registry, or what was kept of it
)

// Found is where a node gets an image from.
type Found struct {
	From   string    `json:"from"`
	ID     string    `json:"id,omitempty"`     // the engine's
	Tagged time.Time `json:"tagged,omitzero"`  // when it got its name
	Source string    `json:"source,omitempty"` // for GET /v1/sources/{source}/layers/{diffID}, if it is from a registry
	Image  *Image    `json:"image,omitempty"`  // if it is from a registry
}

// Registry is where images are found besides the engine.
type Registry interface {
	// Find opens an image that was pushed to it, and returns when. The error wraps cluster.ErrNoImage if there is none of that name.
	Find(ctx context.Context, name string) (Source, time.Time, error)
	// Pull opens an image of an upstream registry, which it keeps.
	Pull(ctx context.Context, name string, auth *Auth) (Source, error)
}
