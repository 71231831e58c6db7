package cmd

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/pki"
)

func TestCertsList(t *testing.T) {
	m := withCluster(t)
	l := m.env.Home.Cluster("kl")
	for _, state := range []string{"running", "stopped"} {
		stdout, stderr, code := m.run("certs", "list")
		if code != exitOK {
			t.Fatalf("%s: exit code %d, %s", state, code, stderr)
		}
		for _, want := range []string{
			`(?m)^ca +- +20\d\d-\d\d-\d\d \d\d:\d\d +3649d +CN=kubernetes +itself`,
			`(?m)^front-proxy-ca +- .* CN=front-proxy-ca +itself`,
			`(?m)^apiserver +- .* 36[45]d +CN=kube-apiserver +CN=kubernetes +localhost,kubernetes,.*10\.245\.0\.1`,
			`(?m)^kubeconfig +- .* CN=kubernetes-admin,O=kl:cluster-admins +CN=kubernetes`,
			`(?m)^tunnel +- `, `(?m)^sa +- +never +- `,
		} {
			if !regexp.MustCompile(want).MatchString(stdout) {
				t.Errorf("%s: %s is not in\n%s", state, want, stdout)
			}
		}
		var list []cluster.Certificate
		if err := json.Unmarshal([]byte(m.must("certs", "list", "-o", "json")), &list); err != nil || len(list) != 12 {
			t.Errorf("%s: %d certificates, want 10, that of the kubeconfig and the key; %v", state, len(list), err)
		}
		if state == "running" {
			m.must("stop")
		} else if !strings.Contains(stderr, "the control plane does not run") {
			t.Errorf("%s: %q", state, stderr)
		}
	}
	if problem := m.must("status"); strings.Contains(problem, "problem") {
		t.Errorf("status of new certificates:\n%s", problem)
	}
	t.Run("what ends soon is told with what to do", func(t *testing.T) {
		old := m.env.Home.Cluster("old")
		if err := pki.Ensure(old, cluster.DefaultSpec().Networking, time.Now().Add(-350*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(old.PKI("scheduler.crt"))
		if err == nil {
			err = os.WriteFile(l.PKI("scheduler.crt"), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		const warning = `certificate scheduler ends on .*; 'kl certs rotate --name kl' renews it`
		_, stderr, _ := m.run("certs", "list")
		if status := m.must("status"); !regexp.MustCompile("problem +"+warning).MatchString(status) || !regexp.MustCompile("kl: "+warning).MatchString(stderr) {
			t.Errorf("status:\n%s\nlist: %s", status, stderr)
		}
		if err := os.RemoveAll(old.Dir()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("damage is named, and the rest is listed", func(t *testing.T) {
		if err := os.WriteFile(l.PKI("admin.crt"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		stdout, stderr, code := m.run("certs", "list")
		if code != exitFailed || !strings.Contains(stderr, l.PKI("admin.crt")) || !strings.Contains(stdout, "\ntunnel ") {
			t.Errorf("exit code %d, %q\n%s", code, stderr, stdout)
		}
	})
	if _, stderr, code := m.run("certs", "list", "--name", "none"); code != exitFailed || !strings.HasPrefix(stderr, "kl: find cluster none:") {
		t.Errorf("no cluster: exit code %d, %q", code, stderr)
	}
	if _, stderr, code := m.run("certs", "rotten"); code != exitUsage || !strings.Contains(stderr, "rotten") {
		t.Errorf("unknown command: exit code %d, %q", code, stderr)
	}
}
