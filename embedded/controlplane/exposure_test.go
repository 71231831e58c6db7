//go:build linux

package controlplane

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
)

// TestExposure starts a control plane and tries what SECURITY.md says of it: who can reach it, and what those who are not
// its administrator may do.
func TestExposure(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a control plane")
	}
	home := shortDir(t)
	l, spec := newCluster(t, home, func(*cluster.Spec) {})
	p := startPlane(t, home, l)
	p.await(t, serving)

	t.Run("listens on loopback and unix sockets only", func(t *testing.T) {
		bound := boundAddresses(t, p.cmd.Process.Pid)
		api := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(spec.Kubernetes.APIServerPort))
		if !slices.Contains(bound, api) {
			t.Errorf("the API server's address %s is not among %v", api, bound)
		}
		for _, a := range bound {
			if !a.Addr().IsLoopback() {
				t.Errorf("listens on %s", a)
			}
		}
	})
	t.Run("nodes are shown the tunnel's socket alone", func(t *testing.T) {
		entries, err := os.ReadDir(l.TunnelDir())
		if err != nil || len(entries) != 1 || filepath.Join(l.TunnelDir(), entries[0].Name()) != l.TunnelSocket() {
			t.Errorf("%s holds %v, %v", l.TunnelDir(), entries, err)
		}
	})
	base := rest.Config{
		Host:            fmt.Sprintf("https://127.0.0.1:%d", spec.Kubernetes.APIServerPort),
		TLSClientConfig: rest.TLSClientConfig{CAFile: l.PKI("ca.crt")},
	}
	t.Run("anonymous users read nothing", func(t *testing.T) { checkNoSecrets(t, base) })
	t.Run("a bootstrap token reads nothing", func(t *testing.T) {
		token, err := os.ReadFile(l.BootstrapToken())
		if err != nil {
			t.Fatal(err)
		}
		c := base
		c.BearerToken = strings.TrimSpace(string(token))
		checkNoSecrets(t, c)
	})
	t.Run("a node changes its own Node and no other", func(t *testing.T) {
		c := base
		c.CertFile, c.KeyFile = l.PKI("admin.crt"), l.PKI("admin.key")
		c.Impersonate = rest.ImpersonationConfig{UserName: "system:node:n1", Groups: []string{"system:nodes", "system:authenticated"}}
		checkNode(t, c, adminClient(t, l, spec))
	})
	t.Run("the audit log has metadata and no bodies", func(t *testing.T) {
		checkAudit(t, l, adminClient(t, l, spec))
	})

	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.end(t)
}

// checkNoSecrets checks that the API server refuses a client, and not that the connection fails.
func checkNoSecrets(t *testing.T, c rest.Config) {
	t.Helper()
	client, err := kubernetes.NewForConfig(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
		t.Errorf("list secrets: %v, want a refusal", err)
	}
}

func checkNode(t *testing.T, c rest.Config, admin kubernetes.Interface) {
	t.Helper()
	client, err := kubernetes.NewForConfig(&c)
	if err != nil {
		t.Fatal(err)
	}
	other := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}
	if _, err := admin.CoreV1().Nodes().Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	own := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Errorf("create its own Node: %v", err)
	}
	label := []byte(`{"metadata":{"labels":{"mine":"yes"}}}`)
	if _, err := client.CoreV1().Nodes().Patch(t.Context(), "n1", types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
		t.Errorf("label its own Node: %v", err)
	}
	if _, err := client.CoreV1().Nodes().Patch(t.Context(), "n2", types.MergePatchType, label, metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("label another Node: %v, want a refusal", err)
	}
	checkNoSecrets(t, c)
}

func checkAudit(t *testing.T, l cluster.Layout, client kubernetes.Interface) {
	t.Helper()
	const name, value = "audited", "correct horse battery staple"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"word": []byte(value)}}
	if _, err := client.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	var log string
	for !strings.Contains(log, `"name":"`+name+`"`) { // it is written in batches
		if time.Now().After(deadline) {
			t.Fatalf("the audit log does not tell of secret %s", name)
		}
		time.Sleep(50 * time.Millisecond)
		data, err := os.ReadFile(l.AuditLog())
		if err != nil {
			t.Fatal(err)
		}
		log = string(data)
	}
	if strings.Contains(log, value) || strings.Contains(log, base64.StdEncoding.EncodeToString([]byte(value))) {
		t.Error("the audit log holds what is in the secret")
	}
}

// boundAddresses lists the TCP addresses on which a process listens, and the UDP addresses it has bound.
func boundAddresses(t *testing.T, pid int) []netip.AddrPort {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", pid)
	files, err := os.ReadDir(dir + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	sockets := map[string]bool{}
	for _, f := range files {
		target, err := os.Readlink(filepath.Join(dir, "fd", f.Name())) // fails for one that was closed meanwhile
		if inode, ok := strings.CutPrefix(target, "socket:["); ok && err == nil {
			sockets[strings.TrimSuffix(inode, "]")] = true
		}
	}
	const listening, unconnected = "0A", "07" // of TCP and UDP
	var bound []netip.AddrPort
	for name, state := range map[string]string{"tcp": listening, "tcp6": listening, "udp": unconnected, "udp6": unconnected} {
		table, err := os.Open(filepath.Join(dir, "net", name))
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		for lines := bufio.NewScanner(table); lines.Scan(); {
			// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
			fields := strings.Fields(lines.Text())
			if len(fields) > 9 && fields[3] == state && sockets[fields[9]] {
				bound = append(bound, parseProcAddress(t, fields[1]))
			}
		}
	}
	return bound
}

// parseProcAddress reads an address of /proc/net/tcp: words of four bytes, each in the machine's order, which is little
// endian wherever kl runs.
func parseProcAddress(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	host, port, _ := strings.Cut(text, ":")
	ip, err := hex.DecodeString(host)
	if err != nil {
		t.Fatal(err)
	}
	for word := range slices.Chunk(ip, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(ip)
	number, err := hex.DecodeString(port)
	if err != nil || !ok || len(number) != 2 {
		t.Fatalf("%q is not an address: %v", text, err)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number[0])<<8|uint16(number[1]))
}
