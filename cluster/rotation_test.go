package cluster_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/pki"
)

func TestRotationProblems(t *testing.T) {
	replaced := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const (
		trusted     = "the authorities and the key of tokens that were replaced on 2026-01-02 03:04 UTC are still trusted: 'kl certs rotate --retire --name x' ends that"
		interrupted = "a rotation of certificates was interrupted: "
	)
	for _, tt := range []struct {
		r    cluster.Rotation
		want []string
	}{
		{cluster.Rotation{}, nil},
		{cluster.Rotation{Kind: cluster.RotateLeaves, Switched: replaced}, nil},
		{cluster.Rotation{Kind: cluster.RotateAuthorities, Replaced: replaced}, []string{trusted}},
		{cluster.Rotation{Kind: cluster.RotateAuthorities, Replaced: replaced, Unfinished: true}, []string{interrupted + "'kl certs rotate --cas --name x' finishes it"}},
		{cluster.Rotation{Kind: cluster.RotateLeaves, Replaced: replaced, Unfinished: true}, []string{interrupted + "'kl certs rotate --name x' finishes it", trusted}},
		{cluster.Rotation{Kind: cluster.RetireAuthorities, Unfinished: true}, []string{interrupted + "'kl certs rotate --retire --name x' finishes it"}},
	} {
		if diff := cmp.Diff(tt.want, tt.r.Problems("x")); diff != "" {
			t.Errorf("%+v: %s", tt.r, diff)
		}
	}
}

func TestOutdated(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ca := cluster.Certificate{Subject: "CN=kubernetes-2"}
	r := cluster.Rotation{Switched: at}
	for _, tt := range []struct {
		name string
		c    cluster.Certificate
		want bool
	}{
		{"new", cluster.Certificate{Issuer: "CN=kubernetes-2", Written: at.Add(time.Second)}, false},
		{"older than the rotation", cluster.Certificate{Issuer: "CN=kubernetes-2", Written: at.Add(-time.Second)}, true},
		{"of the old authority", cluster.Certificate{Issuer: "CN=kubernetes", Written: at.Add(time.Second)}, true},
		{"of an older kl's node", cluster.Certificate{Issuer: "CN=kubernetes-2"}, true},
	} {
		if got := r.Outdated(tt.c, ca); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// What was replaced is listed as old, and nobody is told to replace it when it ends.
func TestListOfRotatedCertificates(t *testing.T) {
	l := cluster.Home(t.TempDir()).Cluster("x")
	network, now := cluster.DefaultSpec().Networking, time.Now()
	err := pki.Ensure(l, network, now)
	if err == nil {
		err = pki.Prepare(l, network, cluster.RotateAuthorities, now)
	}
	if err = errors.Join(err, pki.Switch(l, now)); err != nil {
		t.Fatal(err)
	}
	list, err := cluster.ReadCertificates(l)
	if err == nil || !strings.Contains(err.Error(), l.Kubeconfig()) || strings.Contains(err.Error(), "pki") { // there is none
		t.Errorf("damaged: %v", err)
	}
	var old []string
	for _, c := range list {
		if c.Old {
			old = append(old, c.Name+": "+c.Subject+" of "+c.Issuer)
		}
		if warning := c.Warning("x", now.AddDate(9, 11, 15)); c.Authority && (warning == "") != c.Old {
			t.Errorf("%s: warning %q", c.Name, warning)
		}
	}
	want := []string{
		"ca (old): CN=kubernetes of CN=kubernetes", "ca-cross: CN=kubernetes-2 of CN=kubernetes",
		"front-proxy-ca (old): CN=front-proxy-ca of CN=front-proxy-ca", "front-proxy-ca-cross: CN=front-proxy-ca-2 of CN=front-proxy-ca",
		"sa (old): signed tokens of ServiceAccounts of ",
	}
	if diff := cmp.Diff(want, old); diff != "" {
		t.Error(diff)
	}
}

func TestBadRotationFiles(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "not JSON": "x", "unknown kind": `{"kind":"sideways"}`, "no kind": "{}", "a list": "[]"} {
		l := cluster.Home(t.TempDir()).Cluster("x")
		if err := errors.Join(os.MkdirAll(filepath.Dir(l.RotationFile()), 0o700), os.WriteFile(l.RotationFile(), []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
		_, err := cluster.ReadRotation(l)
		var e *cluster.Error
		if !errors.As(err, &e) || e.Hint == "" || !strings.Contains(err.Error(), l.RotationFile()) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error is %v, want one line that names the file", name, err)
		}
	}
}
