package observe

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// watchStatus follows the status of a kl cluster. If the control plane does not answer, it is not running: KL says why.
func (s *Source) watchStatus(ctx context.Context) {
	if s.cfg.Layout == nil {
		return
	}
	client := cluster.NewClient(*s.cfg.Layout)
	defer client.Close()
	every(ctx, func() time.Duration {
		err := client.Watch(ctx, func(st cluster.Status) bool {
			s.update(func(n *Snapshot) { n.KL = &st })
			return true
		})
		if ctx.Err() != nil {
			return 0
		}
		s.log.Debug("watch status", "err", err)
		s.update(func(n *Snapshot) {
			st := cluster.Status{Cluster: s.cfg.Layout.Name}
			if n.KL != nil {
				st = *n.KL
			}
			st.Phase, st.Reason = cluster.PhaseStopped, ""
			if sup, alive, err := cluster.ReadSupervision(*s.cfg.Layout); err == nil {
				st.Phase, st.Reason = sup.Down(alive)
			}
			n.KL = &st
		})
		return time.Second
	})
}

// Certificate is one certificate of a kl cluster on disk.
type Certificate struct {
	Name    string // file name without .crt
	Expires time.Time
}

// Disk is what a kl cluster has on disk.
type Disk struct {
	Certificates []Certificate // soonest expiry first
	AuditLog     string        // its path; empty if the API server writes none
	Encrypted    bool          // Secrets are encrypted at rest
}

// watchDisk reads the cluster's files every few seconds.
func (s *Source) watchDisk(ctx context.Context) {
	if s.cfg.Layout == nil {
		return
	}
	var last Disk
	every(ctx, func() time.Duration {
		d := Disk{Certificates: readCertificates(filepath.Dir(s.cfg.Layout.PKI("ca.crt")))}
		if _, err := os.Stat(s.cfg.Layout.AuditLog()); err == nil {
			d.AuditLog = s.cfg.Layout.AuditLog()
		}
		if _, err := os.Stat(s.cfg.Layout.EncryptionConfig()); err == nil {
			d.Encrypted = true
		}
		if !slices.Equal(d.Certificates, last.Certificates) || d.AuditLog != last.AuditLog || d.Encrypted != last.Encrypted {
			last = d
			s.update(func(n *Snapshot) { n.Disk = &d })
		}
		return 10 * time.Second
	})
}

// readCertificates returns the certificates in dir, soonest expiry first. Files that are not readable certificates are
// skipped.
func readCertificates(dir string) []Certificate {
	files, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	if err != nil {
		return nil
	}
	var out []Certificate
	for _, f := range files {
		raw, err := statefile.Read(f)
		if err != nil {
			continue
		}
		block, _ := pem.Decode(raw)
		if block == nil {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		out = append(out, Certificate{Name: strings.TrimSuffix(filepath.Base(f), ".crt"), Expires: c.NotAfter})
	}
	slices.SortFunc(out, func(a, b Certificate) int { return a.Expires.Compare(b.Expires) })
	return out
}
