package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"k8s.io/apimachinery/pkg/util/wait"
)

// trustTimeout is how long the controllers may take to tell namespaces and extension API servers whom to trust.
const trustTimeout = time.Minute

// kubectlPoll is the pause between two questions to the API, each of which is a process.
const kubectlPoll = 500 * time.Millisecond

// Names under which Kubernetes publishes authorities.
const (
	rootCAs       = "kube-root-ca.crt"                   // a ConfigMap in each namespace, for pods
	extensionAuth = "extension-apiserver-authentication" // a ConfigMap in kube-system, for extension API servers
)

// spreadTrust returns when the authorities that are trusted now are published, and no others.
func (r *rotation) spreadTrust(ctx context.Context, done cluster.Rotation) error {
	return r.steps.do(cluster.StepTrust, func() (string, error) {
		trusted, err := statefile.Read(r.layout.Trust("ca"))
		if err != nil {
			return "", cluster.Damaged(r.layout, r.layout.Trust("ca"), err)
		}
		var waiting string
		err = wait.PollUntilContextTimeout(ctx, kubectlPoll, trustTimeout, true, func(ctx context.Context) (bool, error) {
			var err error
			if waiting, err = r.unpublished(ctx, trusted); err != nil || waiting != "" || done.Kind != cluster.RetireAuthorities {
				return err == nil && waiting == "", err
			}
			waiting, err = r.dropExtensionTrust(ctx, trusted)
			return err == nil && waiting == "", err
		})
		switch {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case wait.Interrupted(err):
			return "", &cluster.Error{
				Op: "have authorities published", Err: fmt.Errorf("%s is not up to date within %s", waiting, trustTimeout),
				Hint: fmt.Sprintf("'kl logs kube-controller-manager --name %s' may say why; give the command again to go on", r.layout.Name),
			}
		}
		return "", err
	})
}

// configMaps is what kubectl answers.
type configMaps struct {
	Items []struct {
		Metadata meta              `json:"metadata"`
		Data     map[string]string `json:"data"`
	} `json:"items"`
}

// meta is the part of an object's metadata that names it.
type meta struct {
	Namespace         string            `json:"namespace"`
	Name              string            `json:"name"`
	Labels            map[string]string `json:"labels"`
	DeletionTimestamp string            `json:"deletionTimestamp"`
}

func (m meta) String() string { return m.Namespace + "/" + m.Name }

// unpublished names a ConfigMap that does not have the authorities that are trusted; it is empty if all have.
func (r *rotation) unpublished(ctx context.Context, trusted []byte) (string, error) {
	var maps configMaps
	if err := r.read(ctx, &maps, "get", "configmaps", "--all-namespaces", "--field-selector=metadata.name="+rootCAs); err != nil {
		return "", err
	}
	for _, m := range maps.Items {
		if !bytes.Equal(bytes.TrimSpace([]byte(m.Data["ca.crt"])), bytes.TrimSpace(trusted)) {
			return m.Metadata.String(), nil
		}
	}
	return "", nil
}

// dropExtensionTrust removes old authorities from what extension API servers trust. The API server only ever adds to that, and makes it
// anew when it is missing. It returns the name of what is not up to date yet.
func (r *rotation) dropExtensionTrust(ctx context.Context, trusted []byte) (string, error) {
	front, err := statefile.Read(r.layout.Trust("front-proxy-ca"))
	if err != nil {
		return "", cluster.Damaged(r.layout, r.layout.Trust("front-proxy-ca"), err)
	}
	var maps configMaps
	if err := r.read(ctx, &maps, "get", "configmaps", "--namespace=kube-system", "--field-selector=metadata.name="+extensionAuth); err != nil {
		return "", err
	}
	name := "kube-system/" + extensionAuth
	if len(maps.Items) == 0 {
		return name, nil
	}
	has := maps.Items[0].Data
	if onlyThese(has["client-ca-file"], trusted) && onlyThese(has["requestheader-client-ca-file"], front) {
		return "", nil
	}
	log, err := r.kubectl(ctx, cluster.StepTrust, "delete", "configmap", "--namespace=kube-system", extensionAuth, "--ignore-not-found")
	if err != nil {
		return "", &cluster.Error{Op: "make ConfigMap " + name + " anew", Err: err, Log: log}
	}
	return name, nil
}

// onlyThese reports whether text has the certificates of want and no others.
func onlyThese(text string, want []byte) bool {
	all := func(data []byte) (ders []string) {
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			ders = append(ders, string(block.Bytes))
		}
		slices.Sort(ders)
		return ders
	}
	return slices.Equal(all([]byte(text)), all(want))
}

// tokenSecrets is what kubectl answers.
type tokenSecrets struct {
	Items []struct {
		Metadata meta `json:"metadata"`
		Data     struct {
			Token []byte `json:"token"`
		} `json:"data"`
	} `json:"items"`
}

// outdatedTokens lists Secrets of ServiceAccounts whose token another key than the present one has signed, or that have none.
func (r *rotation) outdatedTokens(ctx context.Context) ([]meta, error) {
	public, err := statefile.Read(r.layout.PKI("sa.pub"))
	if err != nil {
		return nil, cluster.Damaged(r.layout, r.layout.PKI("sa.pub"), err)
	}
	id, err := tokenKeyID(public)
	if err != nil {
		return nil, cluster.Damaged(r.layout, r.layout.PKI("sa.pub"), err)
	}
	var secrets tokenSecrets
	if err := r.read(ctx, &secrets, "get", "secrets", "--all-namespaces", "--field-selector=type=kubernetes.io/service-account-token"); err != nil {
		return nil, err
	}
	var old []meta
	for _, s := range secrets.Items {
		if tokenSignedBy(s.Data.Token) != id && s.Metadata.DeletionTimestamp == "" {
			old = append(old, s.Metadata)
		}
	}
	return old, nil
}

// renewTokens has the tokens in Secrets signed with the present key. Copies of them that were made before end with it.
func (r *rotation) renewTokens(ctx context.Context) error {
	old, err := r.outdatedTokens(ctx)
	if err != nil || len(old) == 0 {
		return err
	}
	return r.steps.do(cluster.StepTokens, func() (string, error) {
		var names []string
		for _, m := range old {
			names = append(names, m.String())
			log, err := r.kubectl(ctx, cluster.StepTokens, "patch", "secret", m.Name, "--namespace="+m.Namespace, "--type=merge", `--patch={"data":{"token":null}}`)
			if err != nil {
				return "", &cluster.Error{Op: "make the token in Secret " + m.String() + " anew", Err: err, Log: log}
			}
		}
		err := wait.PollUntilContextTimeout(ctx, kubectlPoll, trustTimeout, true, func(ctx context.Context) (bool, error) {
			var err error
			old, err = r.outdatedTokens(ctx)
			return err == nil && len(old) == 0, err
		})
		if wait.Interrupted(err) && ctx.Err() == nil {
			return "", &cluster.Error{
				Op: "make the token in Secret " + old[0].String() + " anew", Err: fmt.Errorf("not done within %s", trustTimeout),
				Hint: "delete the Secret if its ServiceAccount is gone, and give the command again",
			}
		}
		return "made anew in " + strings.Join(names, ", "), err
	})
}

// tokenKeyID is what Kubernetes calls a key in the tokens that it signs.
func tokenKeyID(publicPEM []byte) (string, error) {
	block, _ := pem.Decode(publicPEM)
	if block == nil {
		return "", errors.New("there is no key in it")
	}
	if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		return "", err
	}
	sum := sha256.Sum256(block.Bytes)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// tokenSignedBy is the key that a token names; empty if it names none.
func tokenSignedBy(token []byte) string {
	header, _, _ := strings.Cut(string(token), ".")
	data, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		return ""
	}
	var h struct {
		KeyID string `json:"kid"`
	}
	if json.Unmarshal(data, &h) != nil {
		return ""
	}
	return h.KeyID
}
