package observe

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/encryption"
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
	Secrets      Secrets       // how they are stored in etcd
}

// Secrets is how a kl cluster stores its Secrets in etcd.
type Secrets struct {
	Provider cluster.EncryptionProvider // of those that are written now; empty if that cannot be told
	Objects  int                        // as etcd holds them; 0 while the control plane does not answer
	Plain    int                        // of them, those that are not encrypted
}

// watchDisk reads the cluster's files every few seconds.
func (s *Source) watchDisk(ctx context.Context) {
	if s.cfg.Layout == nil {
		return
	}
	var last Disk
	client := cluster.NewClient(*s.cfg.Layout)
	defer client.Close()
	every(ctx, func() time.Duration {
		d := Disk{Certificates: readCertificates(*s.cfg.Layout)}
		if _, err := os.Stat(s.cfg.Layout.AuditLog()); err == nil {
			d.AuditLog = s.cfg.Layout.AuditLog()
		}
		d.Secrets = secrets(ctx, *s.cfg.Layout, client)
		if !slices.Equal(d.Certificates, last.Certificates) || d.AuditLog != last.AuditLog || d.Secrets != last.Secrets {
			last = d
			s.update(func(n *Snapshot) { n.Disk = &d })
		}
		return 10 * time.Second
	})
}

// secrets reads how Secrets are encrypted, and has the control plane count them in etcd.
func secrets(ctx context.Context, l cluster.Layout, client *cluster.Client) Secrets {
	const resource = "secrets"
	c, _, err := encryption.Read(l)
	if err != nil {
		return Secrets{}
	}
	found := Secrets{Provider: c.Writes(resource).Provider}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if t, err := encryption.Tallies(ctx, client, resource); err == nil && len(t) == 1 {
		found.Objects, found.Plain = t[0].Objects, t[0].Plain
	}
	return found
}

// readCertificates returns the certificates of a cluster, soonest expiry first. Files that are not readable certificates are
// skipped.
func readCertificates(l cluster.Layout) []Certificate {
	list, _ := cluster.ReadCertificates(l)
	var out []Certificate
	for _, c := range list {
		if !c.NotAfter.IsZero() {
			out = append(out, Certificate{Name: c.Name, Expires: c.NotAfter})
		}
	}
	return out
}
