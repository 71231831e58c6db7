package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/pki"
)

// TestCheck judges the configuration of a cluster that has never run, without an etcd: quickly, and by what is in it.
func TestCheck(t *testing.T) {
	home := t.TempDir()
	l := cluster.Home(home).Cluster("t")
	spec := cluster.DefaultSpec()
	spec.Name, spec.Kubernetes.APIServerPort = "t", 6443
	if err := os.MkdirAll(l.RunDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := pki.Ensure(l, spec.Networking, time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		edit func(*cluster.Spec)
		want string // the error; empty if it is right
	}{
		"right": {func(s *cluster.Spec) {
			s.Audit = cluster.Audit{Policy: auditPolicy("level: Metadata"), Webhook: cluster.AuditWebhook{URL: "https://sink.audit.svc", BatchMaxWait: "1s"}}
			s.Kubernetes.ExtraArgs = map[string]map[string]string{"kube-controller-manager": {"horizontal-pod-autoscaler-sync-period": "3s"}}
		}, ""},
		"gate": {func(s *cluster.Spec) { s.Kubernetes.FeatureGates = map[string]bool{"NoSuchGate": true} }, "NoSuchGate"},
		"flag": {func(s *cluster.Spec) {
			s.Kubernetes.ExtraArgs = map[string]map[string]string{"kube-scheduler": {"no-such-flag": "1"}}
		}, "no-such-flag"},
		"audit level": {func(s *cluster.Spec) { s.Audit.Policy = auditPolicy("level: All") }, `read audit policy: rules[0].level: Unsupported value: "All"`},
		"audit field": {func(s *cluster.Spec) { s.Audit.Policy = auditPolicy("{level: None, verb: [get]}") }, `unknown field "rules[0].verb"`},
		"audit rules": {func(s *cluster.Spec) { s.Audit.Policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\n" }, "read audit policy: loaded illegal policy with 0 rules"},
		"audit kind":  {func(s *cluster.Spec) { s.Audit.Policy = "apiVersion: v1\nkind: Pod\n" }, "read audit policy"},
		"audit file":  {func(s *cluster.Spec) { s.Audit.Policy = "/no/such/policy" }, "read audit policy: open /no/such/policy: no such file"},
		"sink's authority": {func(s *cluster.Spec) { s.Audit.Webhook = cluster.AuditWebhook{URL: "https://sink", CA: "not\nPEM"} },
			"read authorities of the audit webhook: data does not contain any valid RSA or ECDSA certificates"},
		"sink's kubeconfig": {func(s *cluster.Spec) { s.Audit.Webhook.Kubeconfig = "apiVersion: v1\nkind: Config\n" }, "read kubeconfig of the audit webhook"},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec
			tt.edit(&s)
			data, err := yaml.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			cmd := engine(t, "check", "control-plane", l.Dir())
			var out, log bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), &out, &log
			err = cmd.Run()
			if tt.want == "" && err != nil || !strings.Contains(out.String(), tt.want) || tt.want != "" && err == nil {
				t.Errorf("%v, output %q, want %q in it; log:\n%s", err, &out, tt.want, &log)
			}
			if took := time.Since(began); took > 15*time.Second { // a connection to an etcd that is not there takes 20
				t.Errorf("it took %v", took)
			}
		})
	}
}

func auditPolicy(rule string) string {
	return "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- " + rule + "\n"
}
