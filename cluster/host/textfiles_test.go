package host

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
)

// A file that kl.yaml names and that has changed is a change of the cluster, and the cluster needs it no more.
func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.json")
	read := func(content string) cluster.Spec {
		t.Helper()
		if err := os.WriteFile(policy, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s := cluster.DefaultSpec()
		s.Audit.Policy, s.Audit.Webhook.Kubeconfig, s.Kubernetes.Scheduler = policy, "/stays", "a\nb"
		if err := readFiles(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	old, same, now := read("{}"), read("{}\n"), read("{a}")
	if old.Audit.Policy != "{}\n" || old.Audit.Webhook.Kubeconfig != "/stays" || old.Kubernetes.Scheduler != "a\nb" {
		t.Errorf("read %+v and %q", old.Audit, old.Kubernetes.Scheduler)
	}
	if changes, err := config.Plan(old, same); err != nil || len(changes) != 0 {
		t.Errorf("the same content is a change: %v, %v", changes, err)
	}
	changes, err := config.Plan(old, now)
	if err != nil || len(changes) != 1 || changes[0].String() != `audit.policy: "{}\n" → "{a}\n" (control plane)` {
		t.Errorf("other content gives %v, %v", changes, err)
	}
}

func TestReadFilesMissing(t *testing.T) {
	h := &Host{Home: cluster.Home(filepath.Join(t.TempDir(), "home"))}
	s := cluster.DefaultSpec()
	s.Audit.Policy = filepath.Join(t.TempDir(), "none.yaml")
	for name, verb := range map[string]func() error{
		"up":    func() error { _, err := h.Up(context.Background(), s, UpOptions{}); return err },
		"apply": func() error { _, err := h.Apply(context.Background(), s, UpOptions{}); return err },
	} {
		if err := verb(); err == nil || !strings.Contains(err.Error(), "read audit.policy: ") || !strings.Contains(err.Error(), "none.yaml") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(string(h.Home)); err == nil {
		t.Error("a home was made")
	}
}
