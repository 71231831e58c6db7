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
		want := 12
		if state == "running" {
			want += 2
		}
		if err := json.Unmarshal([]byte(m.must("certs", "list", "-o", "json")), &list); err != nil || len(list) != want {
			t.Errorf("%s: %d certificates, want 10, that of the kubeconfig, the key, and two of a kubelet that runs; %v", state, len(list), err)
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

func TestCertsRotateRefuses(t *testing.T) {
	m := withCluster(t)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--force"}, exitUsage, "--force goes with --retire"},
		{[]string{"--cas", "--retire"}, exitUsage, "--cas and --retire are two steps"},
		{[]string{"--ca"}, exitUsage, "--ca"},
		{[]string{"x"}, exitUsage, `"x"`},
		{[]string{"--name", "none"}, exitFailed, "find cluster none"},
	} {
		_, stderr, code := m.run(append([]string{"certs", "rotate"}, tt.args...)...)
		if code != tt.code || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q: exit code %d, %q, want %d and %q", tt.args, code, stderr, tt.code, tt.want)
		}
	}
	m.must("stop")
	if _, stderr, code := m.run("certs", "rotate"); code != exitFailed ||
		stderr != "kl: reach cluster kl: its control plane is stopped\n    'kl start --name kl' starts the cluster\n" {
		t.Errorf("stopped: exit code %d, %q", code, stderr)
	}
	l := m.env.Home.Cluster("kl")
	if err := os.WriteFile(l.RotationFile(), []byte(`{"kind":"certificates","unfinished":true,"replaced":"2026-01-02T03:04:05Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, _ := m.run("certs", "list")
	for _, want := range []string{
		"kl: a rotation of certificates was interrupted: 'kl certs rotate --name kl' finishes it\n",
		"kl: the authorities and the key of tokens that were replaced on 2026-01-02 03:04 UTC are still trusted: 'kl certs rotate --retire --name kl' ends that\n",
	} {
		if !strings.Contains(stderr, want) || !strings.Contains(m.must("status"), strings.TrimPrefix(want, "kl: ")) {
			t.Errorf("list says %q, want %q, and status the same", stderr, want)
		}
	}
	if err := os.WriteFile(l.RotationFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := m.run("certs", "rotate"); code != exitFailed || !strings.Contains(stderr, l.RotationFile()) {
		t.Errorf("damaged: exit code %d, %q", code, stderr)
	}
}
