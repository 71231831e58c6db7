// Package pki makes, checks and renews the certificates and keys of a cluster, named and laid out as kubeadm does
// (https://kubernetes.io/docs/setup/best-practices/certificates/).
package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// Ensure makes the certificates and keys of a cluster, named as kubeadm names them, every file
// 0600. They appear all at once or not at all, so that afterwards a missing or unreadable file can only be damage: it is
// reported by name and never replaced, because a new authority would lock every node and user out. Valid files are kept;
// a certificate that expires within 30 days, or lacks an address the spec asks for, is reissued for the same key.
//
// Every certificate below ca is ECDSA P-256. admin is the user's: its group is bound to cluster-admin by an object in etcd, so
// it can be taken away. super-admin and apiserver-kubelet-client belong to system:masters, which the API server grants
// without any object, and stay with the control plane: it has to make that binding, and restore it when a user has deleted
// it. controller-manager and scheduler may also serve on the loopback address with theirs.
func Ensure(l cluster.Layout, network cluster.Networking, now time.Time) error {
	leaves, err := leavesOf(network)
	if err != nil {
		return &cluster.Error{Op: "plan certificates", Err: err}
	}
	dir := filepath.Dir(l.PKI("x"))
	switch _, err := os.Stat(dir); {
	case err == nil:
		return checkPKI(l, leaves, now)
	case errors.Is(err, fs.ErrNotExist):
		if err := makePKI(dir, leaves, now); err != nil {
			return &cluster.Error{Op: "make certificates", Err: err}
		}
		return nil
	default:
		return &cluster.Error{Op: "read certificates", Err: err}
	}
}

const (
	clusterCA    = "ca"
	frontProxyCA = "front-proxy-ca"
)

// leavesOf lists every certificate that an authority of the cluster issues.
func leavesOf(n cluster.Networking) ([]leaf, error) {
	gateway, err := netip.ParseAddr(n.Gateway)
	if err != nil {
		return nil, fmt.Errorf("parse gateway: %w", err)
	}
	services, err := netip.ParsePrefix(n.ServiceCIDR)
	if err != nil {
		return nil, fmt.Errorf("parse service range: %w", err)
	}
	local := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	masters := []string{"system:masters"}
	return []leaf{
		{
			name: "apiserver", ca: clusterCA, cn: "kube-apiserver",
			usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			dns: []string{
				"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc." + cluster.ClusterDomain,
			},
			ips: append(local[:2:2], net.IP(gateway.AsSlice()), net.IP(services.Masked().Addr().Next().AsSlice())),
		},
		{name: "apiserver-kubelet-client", ca: clusterCA, cn: "kube-apiserver-kubelet-client", org: masters, usages: client},
		{name: "front-proxy-client", ca: frontProxyCA, cn: "front-proxy-client", usages: client},
		{name: "admin", ca: clusterCA, cn: "kubernetes-admin", org: []string{cluster.AdminGroup}, usages: client},
		{name: "super-admin", ca: clusterCA, cn: "kubernetes-super-admin", org: masters, usages: client},
		{
			name: "controller-manager", ca: clusterCA, cn: "system:kube-controller-manager",
			usages: both, dns: []string{"localhost"}, ips: local,
		},
		{
			name: "scheduler", ca: clusterCA, cn: "system:kube-scheduler",
			usages: both, dns: []string{"localhost"}, ips: local,
		},
		{
			name: "tunnel", ca: clusterCA, cn: "kl-tunnel", usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			dns: []string{cluster.TunnelServerName},
		},
	}, nil
}

// makePKI writes a whole PKI beside dir and moves it into place.
func makePKI(dir string, leaves []leaf, now time.Time) error {
	temp, err := statefile.MkdirTemp(filepath.Dir(dir), unfinished)
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) // gone after the rename
	made := set{authorities: map[string]authority{}}
	for file, cn := range map[string]string{clusterCA: "kubernetes", frontProxyCA: "front-proxy-ca"} {
		ca, err := newCA(cn, now)
		if err != nil {
			return fmt.Errorf("make %s: %w", file, err)
		}
		made.authorities[file] = authority{identity: ca}
	}
	if made.keys, err = newTokenKeys(nil); err != nil {
		return err
	}
	if err := made.write(temp, leaves, now); err != nil {
		return err
	}
	return move(temp, dir)
}

// set is what all else follows from.
type set struct {
	authorities map[string]authority
	keys        tokenKeys
}

// write writes all files of a PKI, with certificates for new keys.
func (s set) write(dir string, leaves []leaf, now time.Time) error {
	for name, a := range s.authorities {
		if err := a.write(dir, name); err != nil {
			return err
		}
	}
	for _, l := range leaves {
		if err := l.write(dir, s.authorities[l.ca], now); err != nil {
			return err
		}
	}
	return s.keys.write(dir)
}

// move renames a directory of the cluster, durably.
func move(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return statefile.SyncDir(filepath.Dir(to))
}

// write makes a key and a certificate for it.
func (l leaf) write(dir string, ca authority, now time.Time) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	cert, err := l.issue(ca.identity, &key.PublicKey, now)
	if err != nil {
		return fmt.Errorf("issue %s: %w", l.name, err)
	}
	return writeIdentity(dir, l.name, identity{cert, key, ca.chain()})
}

func writeIdentity(dir, name string, id identity) error {
	key, err := keyutil.MarshalPrivateKeyToPEM(id.key)
	if err != nil {
		return fmt.Errorf("encode key %s: %w", name, err)
	}
	return errors.Join(
		writeCerts(dir, name+".crt", append([]*x509.Certificate{id.cert}, id.chain...)...),
		statefile.Create(filepath.Join(dir, name+".key"), key, 0o600))
}

func writeCerts(dir, file string, certs ...*x509.Certificate) error {
	data, err := certutil.EncodeCertificates(certs...)
	if err != nil {
		return fmt.Errorf("encode certificate %s: %w", file, err)
	}
	return statefile.Create(filepath.Join(dir, file), data, 0o600)
}

func (t tokenKeys) write(dir string) error {
	private, err := keyutil.MarshalPrivateKeyToPEM(t.key)
	if err != nil {
		return err
	}
	public, err := encodePublic(&t.key.PublicKey)
	if err != nil {
		return err
	}
	err = errors.Join(
		statefile.Create(filepath.Join(dir, "sa.key"), private, 0o600),
		statefile.Create(filepath.Join(dir, "sa.pub"), public, 0o600))
	if err != nil || t.old == nil {
		return err
	}
	old, err := encodePublic(t.old)
	if err != nil {
		return err
	}
	return statefile.Create(filepath.Join(dir, "sa-trust.pub"), append(public, old...), 0o600)
}
