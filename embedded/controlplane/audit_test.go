package controlplane

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/cluster"
)

// Paths in the user's kubeconfig are those of its own directory.
func TestAuditKubeconfig(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "sink.kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n" +
		"clusters: [{name: x, cluster: {server: 'https://sink', certificate-authority: ca.crt}}]\nusers: [{name: x, user: {tokenFile: token}}]\n"
	for _, name := range []string{own, filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := files{dir: t.TempDir()}
	if err := f.writeAudit(cluster.Audit{Webhook: cluster.AuditWebhook{Kubeconfig: own}}); err != nil {
		t.Fatal(err)
	}
	got, err := clientcmd.LoadFromFile(f.auditWebhook())
	if err != nil {
		t.Fatal(err)
	}
	if ca := got.Clusters["x"].CertificateAuthority; ca != filepath.Join(dir, "ca.crt") {
		t.Errorf("authority is %s", ca)
	}
	if token := got.AuthInfos["x"].TokenFile; token != filepath.Join(dir, "token") {
		t.Errorf("token is %s", token)
	}
}
