//go:build linux

package controlplane

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/approver"
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
	t.Run("a node is shown its socket of the tunnel alone", func(t *testing.T) {
		entries, err := os.ReadDir(l.TunnelDir("n1"))
		if err != nil || len(entries) != 1 || filepath.Join(l.TunnelDir("n1"), entries[0].Name()) != l.TunnelSocket("n1") {
			t.Errorf("%s holds %v, %v", l.TunnelDir("n1"), entries, err)
		}
	})
	base := rest.Config{
		Host:            fmt.Sprintf("https://127.0.0.1:%d", spec.Kubernetes.APIServerPort),
		TLSClientConfig: rest.TLSClientConfig{CAFile: l.PKI("ca.crt")},
	}
	t.Run("anonymous users read nothing", func(t *testing.T) { checkNoSecrets(t, base) })
	t.Run("anonymous users learn of health and version alone", func(t *testing.T) { checkAnonymous(t, base) })
	t.Run("TLS is modern", func(t *testing.T) { checkTLS(t, strings.TrimPrefix(base.Host, "https://"), l.PKI("ca.crt")) })
	t.Run("nobody profiles", func(t *testing.T) {
		err := adminClient(t, l, spec).CoreV1().RESTClient().Get().RequestURI("/debug/pprof/cmdline").Do(t.Context()).Error()
		if !apierrors.IsNotFound(err) {
			t.Errorf("profiles: %v, want none", err)
		}
	})
	t.Run("a Service takes no address that is not its own", func(t *testing.T) {
		svc := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "thief"},
			Spec:       corev1.ServiceSpec{ExternalIPs: []string{"192.0.2.1"}, Ports: []corev1.ServicePort{{Port: 80}}},
		}
		_, err := adminClient(t, l, spec).CoreV1().Services("default").Create(t.Context(), svc, metav1.CreateOptions{})
		if !apierrors.IsForbidden(err) {
			t.Errorf("Service with an external IP: %v, want a refusal", err)
		}
	})
	t.Run("tokens end", func(t *testing.T) { checkTokens(t, adminClient(t, l, spec)) })
	t.Run("a bootstrap token reads nothing, and is for one node and time", func(t *testing.T) {
		token, err := approver.IssueToken(t.Context(), adminClient(t, l, spec), "n1")
		if err != nil {
			t.Fatal(err)
		}
		c := base
		c.BearerToken = token
		checkNoSecrets(t, c)
		checkJoin(t, c)
	})
	t.Run("a node changes its own Node and no other", func(t *testing.T) {
		c := base
		c.CertFile, c.KeyFile = l.PKI("admin.crt"), l.PKI("admin.key")
		c.Impersonate = rest.ImpersonationConfig{UserName: "system:node:n1", Groups: []string{"system:nodes", "system:authenticated"}}
		checkNode(t, c, adminClient(t, l, spec))
		checkClaims(t, c)
	})
	t.Run("the audit log has metadata and no bodies", func(t *testing.T) {
		checkAudit(t, l, adminClient(t, l, spec))
	})

	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.end(t)
}

// checkAnonymous asks for paths without credentials.
func checkAnonymous(t *testing.T, c rest.Config) {
	t.Helper()
	transport, err := rest.TransportFor(&c)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 200, "/healthz": 200, "/version": 200,
		"/": 401, "/api": 401, "/apis": 401, "/openapi/v2": 401, "/metrics": 401, "/debug/pprof/": 401, "/api/v1/namespaces": 401,
		"/.well-known/openid-configuration": 401,
	} {
		resp, err := (&http.Client{Transport: transport}).Get(c.Host + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

// checkTLS offers what a server of a cluster must refuse, and one version and suite that it must take.
func checkTLS(t *testing.T, address, ca string) {
	t.Helper()
	data, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data)
	for _, tt := range []struct {
		name    string
		version uint16
		suite   uint16
		ok      bool
	}{
		{"TLS 1.1", tls.VersionTLS11, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false},
		{"CBC", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false},
		{"GCM", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
	} {
		conn, err := tls.Dial("tcp", address, &tls.Config{
			RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tt.version, CipherSuites: []uint16{tt.suite},
		})
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v, want success %t", tt.name, err, tt.ok)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// checkTokens asks for a token of a year.
func checkTokens(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	year := int64(365 * 24 * 60 * 60)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &year}}
	token, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(token.Status.ExpirationTimestamp.Time); left > 24*time.Hour+time.Minute {
		t.Errorf("the token lives %s, want a day", left)
	}
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
	if _, err := client.CoreV1().Secrets("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	var log string
	read := regexp.MustCompile(`"verb":"get","user":{"username":"kubernetes-admin"[^\n]*"resource":"secrets","namespace":"default","name":"` + name + `"`)
	for !read.MatchString(log) { // it is written in batches
		if time.Now().After(deadline) {
			t.Fatalf("the audit log does not tell who read secret %s", name)
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
