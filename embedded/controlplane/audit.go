package controlplane

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/audit"
	auditpolicy "k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// content is what a field of the Spec holds that is the absolute path of a file or the file's content.
func content(given string) (string, error) {
	if !filepath.IsAbs(given) || cluster.HoldsContent(given) {
		return given, nil
	}
	data, err := statefile.Read(given)
	return string(data), err
}

// auditPolicyOf is the policy that a Spec asks for. The API server itself would pass over fields that it does not know: a
// policy with a mistake would log something else than its author wants.
func auditPolicyOf(a cluster.Audit) (string, error) {
	if a.Policy == "" {
		return auditPolicy, nil
	}
	given, err := content(a.Policy)
	if err == nil {
		_, err = auditpolicy.LoadPolicyFromBytes([]byte(given))
	}
	if err == nil {
		_, _, err = serializer.NewCodecFactory(audit.Scheme, serializer.EnableStrict).UniversalDecoder().Decode([]byte(given), nil, nil)
	}
	if err != nil {
		return "", fmt.Errorf("read audit policy: %w", err)
	}
	return given, nil
}

// auditKubeconfig is how the API server reaches the webhook that gets audit events.
func auditKubeconfig(w cluster.AuditWebhook) (*clientcmdapi.Config, error) {
	if w.Kubeconfig != "" {
		return ownAuditKubeconfig(w.Kubeconfig)
	}
	c := clientcmdapi.NewConfig()
	server := &clientcmdapi.Cluster{Server: w.URL}
	if w.CA != "" {
		given, err := content(w.CA)
		if err == nil {
			_, err = certutil.ParseCertsPEM([]byte(given))
		}
		if err != nil {
			return nil, fmt.Errorf("read authorities of the audit webhook: %w", err)
		}
		server.CertificateAuthorityData = []byte(given)
	}
	c.Clusters["sink"], c.Contexts["sink"], c.CurrentContext = server, &clientcmdapi.Context{Cluster: "sink"}, "sink"
	return c, nil
}

// ownAuditKubeconfig is the user's kubeconfig, with the paths in it made absolute.
func ownAuditKubeconfig(given string) (*clientcmdapi.Config, error) {
	text, err := content(given)
	var c *clientcmdapi.Config
	if err == nil {
		c, err = clientcmd.Load([]byte(text))
	}
	if err == nil && text != given {
		for _, cluster := range c.Clusters {
			cluster.LocationOfOrigin = given
		}
		for _, user := range c.AuthInfos {
			user.LocationOfOrigin = given
		}
		err = clientcmd.ResolveLocalPaths(c)
	}
	if err == nil {
		err = clientcmd.ConfirmUsable(*c, "")
	}
	if err == nil && c.CurrentContext == "" {
		err = errors.New("it has no current-context")
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig of the audit webhook: %w", err)
	}
	return c, nil
}

// writeAudit writes what the API server reads of the Spec's audit settings.
func (f files) writeAudit(a cluster.Audit) error {
	if !a.Webhook.Enabled() {
		return nil
	}
	config, err := auditKubeconfig(a.Webhook)
	if err != nil {
		return err
	}
	return clientcmd.WriteToFile(*config, f.auditWebhook())
}

// auditArgs are the flags for the audit log and the webhook.
func (a *apiServer) auditArgs(flags args) {
	flags["audit-policy-file"] = a.files.audit()
	flags["audit-log-path"] = absolute(a.layout.AuditLog())
	flags["audit-log-mode"] = "batch"  // requests do not wait for the disk
	flags["audit-log-maxsize"] = "20"  // MB
	flags["audit-log-maxbackup"] = "5" // files
	flags["audit-log-maxage"] = "30"   // days
	flags["audit-log-batch-max-wait"] = "1s"
	w := a.spec.Audit.Webhook
	if w.Enabled() {
		flags["audit-webhook-config-file"] = a.files.auditWebhook()
	}
	if w.BatchMaxWait != "" {
		flags["audit-webhook-batch-max-wait"] = w.BatchMaxWait
	}
	if w.BatchMaxSize != 0 {
		flags["audit-webhook-batch-max-size"] = strconv.Itoa(w.BatchMaxSize)
	}
}
