package cluster_test

import (
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
)

func TestCertificateWarning(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name       string
		c          cluster.Certificate
		life, left time.Duration
		want       string // empty if nothing is to be said
	}{
		{"a year, new", cluster.Certificate{Name: "admin"}, 365 * day, 364 * day, ""},
		{"a year, 31 days left", cluster.Certificate{Name: "admin"}, 365 * day, 31 * day, ""},
		{"a year, 29 days left", cluster.Certificate{Name: "admin"}, 365 * day, 29 * day,
			"certificate admin ends on 2026-05-30 12:00 UTC; 'kl certs rotate --name x' renews it"},
		{"over", cluster.Certificate{Name: "admin"}, 365 * day, -time.Hour, "certificate admin ended on 2026-05-01 11:00 UTC; 'kl certs rotate --name x' renews it"},
		{"an hour, 20 minutes left", cluster.Certificate{Name: "kubelet-client", Node: "n1"}, time.Hour, 20 * time.Minute, ""},
		{"an hour, 5 minutes left", cluster.Certificate{Name: "kubelet-client", Node: "n1"}, time.Hour, 5 * time.Minute,
			"certificate kubelet-client of node n1 ends on 2026-05-01 12:05 UTC; its kubelet should have renewed it: see 'kl logs --name x n1'"},
		{"an authority", cluster.Certificate{Name: "ca", Authority: true}, 3650 * day, 10 * day,
			"certificate ca ends on 2026-05-11 12:00 UTC; 'kl certs rotate --cas --name x' replaces it"},
		{"an authority that was replaced", cluster.Certificate{Name: "ca (old)", Authority: true, Old: true}, 3650 * day, 10 * day, ""},
		{"a key", cluster.Certificate{Name: "sa"}, 0, 0, ""},
	} {
		if tt.life > 0 {
			tt.c.NotAfter = now.Add(tt.left)
			tt.c.NotBefore = tt.c.NotAfter.Add(-tt.life)
		}
		if got := tt.c.Warning("x", now); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestParseCertificateOfOddData(t *testing.T) {
	for _, data := range []string{"", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"} {
		if c, err := cluster.ParseCertificate("x", "f", []byte(data)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %+v, %v", data, c, err)
		}
	}
}
