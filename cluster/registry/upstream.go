package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/cluster/statefile"
)

// Upstream is how other registries are reached. The zero value trusts what the machine trusts, and uses no proxy.
type Upstream struct {
	cluster.Registries
	Proxy    func(*http.Request) (*url.URL, error) // as in http.Transport
	Keychain authn.Keychain                        // credentials that a request lacks; nil for those of the docker config
}

const (
	dockerHub     = "docker.io"
	dockerHubHost = "registry-1.docker.io"
	dialTimeout   = 10 * time.Second
	answerTimeout = 30 * time.Second
)

// endpoint is where images of a registry are pulled from: the registry itself, or a mirror.
type endpoint struct {
	registry string // as names of images have it
	host     string // with a port, if there is one
	prefix   string // of paths, at a mirror; without a slash at its end
	mirror   bool
	plain    bool // may speak HTTP
	insecure bool // may have any certificate
}

// endpoints are tried in order.
func (u Upstream) endpoints(registry string) ([]endpoint, error) {
	mirrors, ok := u.Mirrors[registry]
	if !ok {
		mirrors = u.Mirrors["*"]
	}
	var list []endpoint
	for _, m := range mirrors {
		at, err := url.Parse(m)
		if err != nil || at.Host == "" {
			return nil, fmt.Errorf("registries.mirrors in kl.yaml: %q is not a URL", m)
		}
		insecure := slices.Contains(u.Insecure, at.Host)
		list = append(list, endpoint{
			registry: registry, host: at.Host, prefix: strings.TrimRight(at.Path, "/"), mirror: true,
			plain: insecure || at.Scheme == "http", insecure: insecure,
		})
	}
	own := endpoint{registry: registry, host: registry, insecure: slices.Contains(u.Insecure, registry)}
	if registry == dockerHub {
		own.host = dockerHubHost
	}
	own.plain = own.insecure || loopback(own.host)
	return append(list, own), nil
}

// loopback reports whether a registry is on this machine, where there is nobody to protect a connection from.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// caFile is the file with the authorities of an endpoint; empty for the machine's.
func (u Upstream) caFile(e endpoint) string {
	if file, ok := u.CAFiles[e.host]; ok || e.mirror {
		return file
	}
	return u.CAFiles[e.registry]
}

// client speaks with an endpoint about one repository.
type client struct {
	endpoint
	http *http.Client
	base url.URL // of the repository
	who  string  // whose credentials it has, for messages
}

// dial connects to an endpoint, and gets a token if it wants one.
func (u Upstream) dial(ctx context.Context, e endpoint, named reference.Named, auth *images.Auth) (*client, error) {
	c := &client{endpoint: e}
	base, err := u.transport(e)
	if err != nil {
		return c, err
	}
	var options []name.Option
	if e.plain {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(e.host, options...)
	if err != nil {
		return c, err
	}
	credentials, who := u.credentials(ctx, e, auth)
	c.who = who
	path := reference.Path(named)
	t, err := transport.NewWithContext(ctx, registry, credentials, base, []string{registry.Repo(path).Scope(transport.PullScope)})
	if err != nil {
		return c, err
	}
	c.http = &http.Client{Transport: t}
	c.base = url.URL{Scheme: "https", Host: e.host, Path: "/v2/" + path} // t replaces the scheme
	return c, nil
}

// transport reaches an endpoint without credentials.
func (u Upstream) transport(e endpoint) (http.RoundTripper, error) {
	config := &tls.Config{InsecureSkipVerify: e.insecure} //nolint:gosec // the user's kl.yaml names the registry
	if file := u.caFile(e); file != "" {
		data, err := statefile.Read(file)
		if err != nil {
			return nil, fmt.Errorf("registries.caFiles in kl.yaml: %w", err)
		}
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			return nil, err
		}
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("registries.caFiles in kl.yaml: %s holds no certificates in PEM form", file)
		}
	}
	return &atEndpoint{endpoint: e, inner: &http.Transport{
		Proxy: u.Proxy, TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout: answerTimeout, // a client is dropped, not closed
	}}, nil
}

// errPlain is the answer to requests without TLS where these are not allowed.
var errPlain = errors.New("plain HTTP is not allowed")

// atEndpoint sends requests to the paths of a mirror, and none without TLS to where it is not allowed: go-containerregistry would to any
// private address.
type atEndpoint struct {
	endpoint
	inner http.RoundTripper
}

func (t *atEndpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == t.host && strings.HasPrefix(r.URL.Path, "/v2/") {
		if r.URL.Scheme == "http" && !t.plain {
			return nil, errPlain
		}
		if t.mirror {
			r = r.Clone(r.Context())
			r.URL.Path = t.prefix + r.URL.Path
			if r.URL.Path != t.prefix+"/v2/" {
				r.URL.RawQuery = url.Values{"ns": {t.registry}}.Encode() // a mirror of several registries needs to know
			}
		}
	}
	return t.inner.RoundTrip(r)
}

// credentials are those of a request or, if it has none, the user's. who says which, for messages.
func (u Upstream) credentials(ctx context.Context, e endpoint, auth *images.Auth) (credentials authn.Authenticator, who string) {
	if auth != nil && *auth != (images.Auth{}) && !e.mirror { // they are for the registry
		config, err := dockerAuth(*auth)
		if err != nil {
			return authn.Anonymous, "the pod's imagePullSecrets, which are damaged (" + err.Error() + ")"
		}
		return authn.FromConfig(config), forUser(config.Username) + "the pod's imagePullSecrets"
	}
	keychain := u.Keychain
	if keychain == nil {
		keychain = authn.DefaultKeychain
	}
	target, err := name.NewRegistry(cmpHost(e))
	var found authn.Authenticator
	if err == nil {
		found, err = authn.Resolve(ctx, keychain, target)
	}
	switch {
	case err != nil:
		return authn.Anonymous, fmt.Sprintf("no credentials: the docker config does not give those for %s (%v)", cmpHost(e), err)
	case found == authn.Anonymous:
		return found, fmt.Sprintf("no credentials: run 'docker login %s', or give the pod imagePullSecrets", cmpHost(e))
	}
	user := ""
	if config, err := authn.Authorization(ctx, found); err == nil {
		user = config.Username
	}
	return found, forUser(user) + "the docker config"
}

// cmpHost is what the docker config calls an endpoint.
func cmpHost(e endpoint) string {
	if e.mirror {
		return e.host
	}
	return e.registry
}

func forUser(user string) string {
	if user == "" {
		return "a token of "
	}
	return fmt.Sprintf("user %q of ", user)
}

// dockerAuth is what a request has, as docker has it: user and password may be in one field.
func dockerAuth(a images.Auth) (authn.AuthConfig, error) {
	config := authn.AuthConfig{
		Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}
	if a.Auth == "" || a.Username != "" {
		return config, nil
	}
	data, err := json.Marshal(map[string]string{"auth": a.Auth})
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	return config, err
}
