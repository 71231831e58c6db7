package tour

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/client-go/util/cert"
)

// given are the names that every scenario may use; see the package's documentation.
func given() []string {
	return []string{"NS", "IMAGE", "COMMAND", "MOUNTS", "VOLUMES", "MOUNT", "VOLUME", "TLS_CA", "TLS_CERT", "TLS_KEY", "CLUSTER"}
}

var reference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// checkNames returns an error if text refers to a name that is not known.
func checkNames(text string, known []string) error {
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(known, m[1]) {
			return fmt.Errorf("%s is not known; names are %s, and what earlier steps save", m[0], strings.Join(given(), ", "))
		}
	}
	return nil
}

// expand replaces references. One without a value stays: a later step saves it.
func expand(text string, values map[string]string) string {
	return reference.ReplaceAllStringFunc(text, func(ref string) string {
		if v, ok := values[ref[2:len(ref)-1]]; ok {
			return v
		}
		return ref
	})
}

// Programs says how a pod gets the tour's programs.
type Programs struct {
	Image, Command  string
	Mounts, Volumes string // as YAML in one line
}

// engine is where a node has kl's engine, and where pods get it mounted.
const engine = "/usr/local/bin/kl-engine"

// NodePrograms are the programs that nodes of kl carry: nothing is pulled, and no image made.
func NodePrograms() Programs {
	return Programs{
		Image: "kl.local/pause:1", Command: engine + ", tour",
		Mounts:  "[{name: engine, mountPath: " + engine + ", readOnly: true}]",
		Volumes: "[{name: engine, hostPath: {path: " + engine + ", type: File}}]",
	}
}

// ImagePrograms are the programs in an image whose entrypoint is kl-engine; other clusters than kl's need one.
func ImagePrograms(image string) Programs {
	return Programs{Image: image, Command: engine + ", tour", Mounts: "[]", Volumes: "[]"}
}

// items are the items of a list in one line.
func items(list string) string { return strings.TrimSuffix(strings.TrimPrefix(list, "["), "]") }

// values are the values of given, and where saved ones are added.
func (s *Scenario) values(cluster string, p Programs) (map[string]string, error) {
	values := map[string]string{
		"NS": s.Namespace(), "CLUSTER": cluster, "IMAGE": p.Image, "COMMAND": p.Command, "MOUNTS": p.Mounts, "VOLUMES": p.Volumes,
		"MOUNT": items(p.Mounts), "VOLUME": items(p.Volumes),
	}
	usesTLS := false
	err := s.EachFile(func(_, text string) error {
		usesTLS = usesTLS || strings.Contains(text, "${TLS_")
		return nil
	})
	if err == nil && usesTLS { // RSA keys cost a noticeable time
		err = s.addCertificate(values)
	}
	return values, err
}

// addCertificate adds a certificate for the Services of the scenario, its key and its authority.
func (s *Scenario) addCertificate(values map[string]string) error {
	ns := s.Namespace()
	names := []string{"*." + ns + ".svc", "*." + ns + ".svc.cluster.local"}
	// One file holds the certificate and the authority that signed it.
	chain, key, err := cert.GenerateSelfSignedCertKey(ns+".svc", nil, names)
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	certs, err := cert.ParseCertsPEM(chain)
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	ca, err := cert.EncodeCertificates(certs[len(certs)-1])
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	b64 := base64.StdEncoding.EncodeToString
	values["TLS_CA"], values["TLS_CERT"], values["TLS_KEY"] = b64(ca), b64(chain), b64(key)
	return nil
}
