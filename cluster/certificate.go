package cluster

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster/statefile"
)

// Certificate is a certificate of a cluster, or a key that has none.
type Certificate struct {
	Name      string    `json:"name"`              // ca, apiserver, kubelet-client, …
	Node      string    `json:"node,omitempty"`    // whose it is; empty for the control plane's
	File      string    `json:"file"`              // on this machine, or in the node
	Subject   string    `json:"subject,omitempty"` // as RFC 2253 writes it
	Issuer    string    `json:"issuer,omitempty"`
	Names     []string  `json:"names,omitempty"` // host names and addresses
	Authority bool      `json:"authority,omitempty"`
	Old       bool      `json:"old,omitempty"`      // of an authority or key: it was replaced, and is still trusted
	Written   time.Time `json:"written,omitzero"`   // of a kubelet: when it got the certificate
	NotBefore time.Time `json:"notBefore,omitzero"` // zero for a key
	NotAfter  time.Time `json:"notAfter,omitzero"`
}

// ParseCertificate reads the first certificate of PEM data, which may hold more and keys, too.
func ParseCertificate(name, file string, data []byte) (Certificate, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		x, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Certificate{}, err
		}
		names := slices.Clone(x.DNSNames)
		for _, ip := range x.IPAddresses {
			names = append(names, net.IP(ip).String())
		}
		return Certificate{
			Name: name, File: file, Subject: x.Subject.String(), Issuer: x.Issuer.String(), Names: names, Authority: x.IsCA,
			NotBefore: x.NotBefore, NotAfter: x.NotAfter,
		}, nil
	}
	return Certificate{}, errors.New("there is no certificate in it")
}

// soon is how long before its end a certificate is worth a warning, unless it lives for less than ten times that: then it is a
// tenth of its life.
const soon = 30 * 24 * time.Hour

// RunsOut reports whether the certificate has ended or ends soon. Kubelets renew theirs earlier, and kl up renews those of a control
// plane that it starts.
func (c Certificate) RunsOut(now time.Time) bool {
	if c.NotAfter.IsZero() {
		return false
	}
	return c.NotAfter.Sub(now) < min(soon, c.NotAfter.Sub(c.NotBefore)/10)
}

// Warning says that the certificate runs out and what to do, for cluster name; empty if it does not.
func (c Certificate) Warning(name string, now time.Time) string {
	if c.Old || !c.RunsOut(now) {
		return ""
	}
	what := "certificate " + c.Name
	if c.Node != "" {
		what += " of node " + c.Node
	}
	when := "ends on " + c.NotAfter.UTC().Format("2006-01-02 15:04 MST")
	if now.After(c.NotAfter) {
		when = "ended on " + c.NotAfter.UTC().Format("2006-01-02 15:04 MST")
	}
	do := RotateLeaves.Command(name) + " renews it"
	switch {
	case c.Authority:
		do = RotateAuthorities.Command(name) + " replaces it"
	case c.Node != "":
		do = fmt.Sprintf("its kubelet should have renewed it: see 'kl logs --name %s %s'", name, c.Node)
	}
	return what + " " + when + "; " + do
}

// ReadCertificates reads the certificates of a cluster's control plane and of its kubeconfig, soonest end first, then keys. A
// file that cannot be read is left out; the error names each of them.
func ReadCertificates(l Layout) ([]Certificate, error) {
	files, err := filepath.Glob(l.PKI("*.crt"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, Damaged(l, filepath.Dir(l.PKI("x")), errors.New("there are no certificates"))
	}
	var out []Certificate
	var errs []error
	add := func(name, file string, data []byte, err error) {
		var c Certificate
		if err == nil {
			c, err = ParseCertificate(name, file, data)
		}
		if err != nil {
			errs = append(errs, Damaged(l, file, err))
			return
		}
		c.Old = strings.HasSuffix(name, " (old)") || strings.HasSuffix(name, "-cross") // what the old one says of the present one
		out = append(out, c)
	}
	for _, f := range files {
		data, err := statefile.Read(f)
		name := strings.TrimSuffix(filepath.Base(f), ".crt")
		if ca, bundle := strings.CutSuffix(name, "-trust"); bundle { // the present authority, and the one before
			_, data = pem.Decode(data)
			add(ca+" (old)", f, data, err)
			continue
		}
		add(name, f, data, err)
	}
	data, err := clientCertificate(l.Kubeconfig())
	add("kubeconfig", l.Kubeconfig(), data, err)
	SortCertificates(out)
	if _, err := statefile.Read(l.PKI("sa.pub")); err != nil {
		errs = append(errs, Damaged(l, l.PKI("sa.pub"), err))
	} else {
		out = append(out, Certificate{Name: "sa", File: l.PKI("sa.pub"), Subject: "signs the tokens of ServiceAccounts"})
	}
	if f := l.TokenKeys(); f != l.PKI("sa.pub") {
		out = append(out, Certificate{Name: "sa (old)", File: f, Subject: "signed tokens of ServiceAccounts", Old: true})
	}
	return out, errors.Join(errs...)
}

// SortCertificates sorts by the end, and by node and name.
func SortCertificates(list []Certificate) {
	slices.SortStableFunc(list, func(a, b Certificate) int {
		if d := a.NotAfter.Compare(b.NotAfter); d != 0 {
			return d
		}
		return strings.Compare(a.Node+" "+a.Name, b.Node+" "+b.Name)
	})
}

// clientCertificate is the certificate of a kubeconfig's first user.
func clientCertificate(path string) ([]byte, error) {
	data, err := statefile.Read(path)
	if err != nil {
		return nil, err
	}
	var config struct {
		Users []struct {
			User struct {
				Certificate []byte `json:"client-certificate-data"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		return nil, statefile.Plain(err)
	}
	if len(config.Users) == 0 {
		return nil, errors.New("it has no user")
	}
	return config.Users[0].User.Certificate, nil
}

// certificatesTimeout is how long a node's agent may take to answer.
const certificatesTimeout = 2 * time.Second

// Certificates asks a node's agent for those of its kubelet.
func (c *Client) Certificates(ctx context.Context, node string) ([]Certificate, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, certificatesTimeout, errors.New("it does not answer"))
	defer cancel()
	resp, err := c.Node(ctx, node, http.MethodGet, "/v1/certificates", nil)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	defer resp.Body.Close()
	var list []Certificate
	err = json.NewDecoder(resp.Body).Decode(&list)
	return list, err
}
