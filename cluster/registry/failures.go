package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// clients are the connections of a pull, by host and the path there. The zero value has none.
type clients struct {
	mu   sync.Mutex
	open map[string]*client
}

// get connects to an endpoint, unless it is connected. A client is returned with an error, too, for messages.
func (c *clients) get(ctx context.Context, p *pull, e endpoint) (*client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := e.host + e.prefix
	if have, ok := c.open[key]; ok {
		return have, nil
	}
	made, err := p.store.Upstream.dial(ctx, e, p.named, p.auth)
	if err == nil {
		if c.open == nil {
			c.open = map[string]*client{}
		}
		c.open[key] = made
	}
	return made, err
}

// failure is why an endpoint did not give what was asked for.
type failure struct {
	client *client
	err    error
}

// failures are those of all endpoints that were asked.
type failures []failure

// Error is one line.
func (f failures) Error() string {
	var parts []string
	for _, one := range f {
		parts = append(parts, one.client.place()+" "+one.words())
	}
	return strings.Join(parts, "; ")
}

// Unwrap says that there is no image if all that were asked said so.
func (f failures) Unwrap() []error {
	var list []error
	missing := len(f) > 0
	for _, one := range f {
		list = append(list, one.err)
		missing = missing && one.status() == http.StatusNotFound
	}
	if missing {
		return append(list, cluster.ErrNoImage)
	}
	return list
}

// place is what messages call an endpoint.
func (e endpoint) place() string {
	if e.mirror {
		return e.host + e.prefix + " (a mirror of " + e.registry + ")"
	}
	return e.registry
}

// status is the HTTP status that a registry answered with; 0 if it did not answer.
func (f failure) status() int {
	var answer *transport.Error
	if untrusted(f.err) || !errors.As(f.err, &answer) { // one that is not trusted may have been asked without TLS, too
		return 0
	}
	return answer.StatusCode
}

// said is what a registry said of its own accord.
func (f failure) said() string {
	var answer *transport.Error
	if !errors.As(f.err, &answer) || len(answer.Errors) == 0 || answer.Errors[0].Message == "" {
		return ""
	}
	return ": " + statefile.Shorten(strings.Join(strings.Fields(answer.Errors[0].Message), " "), 200)
}

// refused reports whether the registry itself, the last that is asked, has given an answer that what was kept must not hide.
func refused(err error) bool {
	var all failures
	if !errors.As(err, &all) || len(all) == 0 {
		return false
	}
	switch all[len(all)-1].status() {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusBadRequest, http.StatusGone:
		return true
	}
	return untrusted(all[len(all)-1].err)
}

// untrusted reports whether an error is that of a certificate.
func untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	return errors.As(err, &verification) || errors.As(err, &authority)
}

// words says what an endpoint did.
func (f failure) words() string {
	switch status := f.status(); status {
	case 0:
		return f.trouble()
	case http.StatusNotFound:
		return "does not have it"
	case http.StatusUnauthorized, http.StatusForbidden:
		if strings.HasPrefix(f.client.who, "no credentials") {
			return "does not have it, or wants credentials; there are " + f.client.who
		}
		return "does not have it, or refuses " + f.client.who + f.said()
	case http.StatusTooManyRequests:
		return "has had too many requests; wait, or 'docker login' for a higher limit" + f.said()
	default:
		return fmt.Sprintf("answers %d %s%s", status, http.StatusText(status), f.said())
	}
}

// trouble says why there was no answer.
func (f failure) trouble() string {
	err := f.err
	var verification *tls.CertificateVerificationError
	var name *net.DNSError
	var wrong *mismatch
	var network *url.Error
	switch {
	case errors.As(err, &wrong):
		return "sends something else: " + wrong.Error()
	case errors.As(err, &verification):
		return fmt.Sprintf("is not trusted: %v; name its authority in kl.yaml, as registries.caFiles of %q", verification.Err, cmpHost(f.client.endpoint))
	case errors.As(err, &name):
		return "is not reachable: " + name.Err + " (" + name.Name + ")"
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("speaks no TLS; if that is so on purpose, list %q in kl.yaml as registries.insecure", cmpHost(f.client.endpoint))
	case errors.Is(err, context.DeadlineExceeded):
		return "does not answer in time"
	case errors.As(err, &network):
		return "is not reachable: " + network.Err.Error()
	}
	return "cannot be used: " + err.Error()
}
