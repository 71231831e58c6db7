package observe

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
)

// watchStatus follows the status socket of a kl cluster; elsewhere it has nothing to do. Without a socket the control
// plane is not running, and KL says Stopped.
func (s *Source) watchStatus(ctx context.Context) {
	if s.cfg.Layout == nil {
		return
	}
	every(ctx, func() time.Duration {
		err := s.readStatus(ctx, s.cfg.Layout.StatusSocket())
		if ctx.Err() != nil {
			return 0
		}
		s.log.Debug("watch status", "err", err)
		s.update(func(n *Snapshot) {
			st := cluster.Status{Cluster: s.cfg.Layout.Name}
			if n.KL != nil {
				st = *n.KL
			}
			st.Phase = cluster.PhaseStopped
			n.KL = &st
		})
		return time.Second
	})
}

// readStatus passes on every status of the stream until it ends.
func (s *Source) readStatus(ctx context.Context, socket string) error {
	client := socketClient(socket)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://kl/v1/status?watch=1", nil)
	if err != nil {
		return fmt.Errorf("watch status: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("watch status: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("watch status: %s", resp.Status)
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var st cluster.Status
		if err := dec.Decode(&st); err != nil {
			return fmt.Errorf("watch status: %w", err)
		}
		s.update(func(n *Snapshot) { n.KL = &st })
	}
}

// Certificate is one certificate of a kl cluster on disk.
type Certificate struct {
	Name    string // file name without .crt
	Expires time.Time
}

// Disk is what the files of a kl cluster tell.
type Disk struct {
	Certificates []Certificate // soonest expiry first
	AuditLog     string        // its path; empty if the API server writes none
	Encrypted    bool          // Secrets are encrypted at rest
}

// watchDisk reads the cluster's files now and every few seconds.
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

// readCertificates returns what can be read below dir, soonest expiry first. Files that are no certificate are skipped.
func readCertificates(dir string) []Certificate {
	files, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	if err != nil {
		return nil
	}
	var out []Certificate
	for _, f := range files {
		raw, err := os.ReadFile(f)
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
