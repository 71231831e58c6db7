package host_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/pki"
)

// rotating is a cluster whose API answers what rotations ask.
type rotating struct {
	*bench
	t         *testing.T
	l         cluster.Layout
	extension map[string]string // what extension API servers trust; the API server makes it anew when it is missing
	token     []byte            // in Secret default/legacy
	pods      []map[string]any
	beats     int
}

func newRotating(t *testing.T, nodes int) *rotating {
	t.Helper()
	r := &rotating{bench: newBench(t), t: t}
	r.l = r.Home.Cluster("demo")
	r.fake.Commands = map[string]func(context.Context, cluster.Node, cluster.ExecSpec) int{
		"/bin/sh": func(context.Context, cluster.Node, cluster.ExecSpec) int { return 0 },
	}
	r.mustUp(t, request(nodes))
	r.extension = r.trusted()
	r.token = r.sign()
	r.Kubectl = func(_ context.Context, _ cluster.Layout, out io.Writer, args ...string) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.answer(out, strings.Join(args, " "))
	}
	return r
}

func (r *rotating) file(path string) string {
	r.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(data)
}

// trusted is what the API server of now makes extension API servers trust.
func (r *rotating) trusted() map[string]string {
	return map[string]string{"client-ca-file": r.file(r.l.Trust("ca")), "requestheader-client-ca-file": r.file(r.l.Trust("front-proxy-ca"))}
}

// sign is a token that the present key has signed; only its header counts.
func (r *rotating) sign() []byte {
	block, _ := pem.Decode([]byte(r.file(r.l.PKI("sa.pub"))))
	sum := sha256.Sum256(block.Bytes)
	header := fmt.Sprintf(`{"alg":"ES256","kid":%q}`, base64.RawURLEncoding.EncodeToString(sum[:]))
	return []byte(base64.RawURLEncoding.EncodeToString([]byte(header)) + ".x.y")
}

func (r *rotating) answer(out io.Writer, command string) error {
	list := func(items ...any) error { return json.NewEncoder(out).Encode(map[string]any{"items": items}) }
	switch {
	case strings.HasPrefix(command, "get configmaps --all-namespaces --field-selector=metadata.name=kube-root-ca.crt"):
		return list(map[string]any{"metadata": map[string]string{"namespace": "default"}, "data": map[string]string{"ca.crt": r.file(r.l.Trust("ca"))}})
	case strings.HasPrefix(command, "get configmaps --namespace=kube-system --field-selector=metadata.name=extension-apiserver-authentication"):
		now := map[string]string{}
		for key, text := range r.trusted() { // it only ever adds
			if now[key] = r.extension[key]; !strings.Contains(now[key], text) {
				now[key] = text + now[key]
			}
		}
		r.extension = now
		return list(map[string]any{"data": now})
	case strings.HasPrefix(command, "delete configmap --namespace=kube-system extension-apiserver-authentication"):
		r.extension = nil
		return nil
	case strings.HasPrefix(command, "get secrets --all-namespaces --field-selector=type=kubernetes.io/service-account-token"):
		return list(map[string]any{"metadata": map[string]string{"namespace": "default", "name": "legacy"}, "data": map[string]any{"token": r.token}})
	case strings.HasPrefix(command, "patch secret legacy --namespace=default --type=merge"):
		r.token = r.sign()
		return nil
	case strings.HasPrefix(command, "get pods"):
		return json.NewEncoder(out).Encode(map[string]any{"items": r.pods})
	case strings.HasPrefix(command, "get node "):
		r.beats++
		_, err := fmt.Fprintf(out, "True %d", r.beats)
		return err
	}
	return fmt.Errorf("unexpected: kubectl %s", command)
}

func (r *rotating) rotate(kind cluster.RotationKind) {
	r.t.Helper()
	if err := r.RotateCertificates(r.t.Context(), "demo", host.RotateOptions{Kind: kind, Force: kind == cluster.RetireAuthorities}); err != nil {
		r.t.Fatal(describe(err))
	}
	r.whole()
}

// whole checks that the cluster runs, with certificates that belong together, and is where a rotation ends.
func (r *rotating) whole() {
	r.t.Helper()
	info, err := r.Inspect(r.t.Context(), "demo")
	if err != nil || info.Phase != cluster.PhaseReady {
		r.t.Fatalf("the cluster is %v, %v", info, err)
	}
	before := r.file(r.l.PKI("apiserver.crt"))
	if err := pki.Ensure(r.l, cluster.DefaultSpec().Networking, time.Now()); err != nil || r.file(r.l.PKI("apiserver.crt")) != before {
		r.t.Errorf("certificates: %v", err)
	}
	if last, err := host.RotationOf(r.l); err != nil || last.Unfinished {
		r.t.Errorf("rotation %+v, %v", last, err)
	}
	entries, err := filepath.Glob(filepath.Join(r.l.Dir(), "*pki*"))
	if err != nil || len(entries) != 1 {
		r.t.Errorf("beside the certificates: %v, %v", entries, err)
	}
	for _, file := range []string{r.kubeconfig, r.l.Kubeconfig()} {
		for _, part := range []string{r.file(r.l.Trust("ca")), r.file(r.l.PKI("admin.crt"))} {
			if !strings.Contains(r.file(file), base64.StdEncoding.EncodeToString([]byte(part))) {
				r.t.Errorf("%s is out of date", file)
			}
		}
	}
}

// TestRotateCertificates takes every kind of rotation one after another, on a cluster with nodes.
func TestRotateCertificates(t *testing.T) {
	r := newRotating(t, 2)
	second := filepath.Join(filepath.Dir(r.kubeconfig), "second")
	r.Kubeconfigs = []string{second}
	r.mustUp(t, request(-1)) // merged into this file, too
	r.Kubeconfigs = []string{r.kubeconfig}
	state := func() (pid int, admin, ca string) {
		return planePID(t, r.bench), r.file(r.l.PKI("admin.crt")), r.file(r.l.PKI("ca.crt"))
	}
	pid, admin, ca := state()
	r.rotate(cluster.RotateLeaves)
	pid2, admin2, ca2 := state()
	if pid2 == pid || admin2 == admin || ca2 != ca {
		t.Errorf("certificates: the control plane restarted: %v, certificates are new: %v, authorities are: %v", pid2 != pid, admin2 != admin, ca2 != ca)
	}
	r.rotate(cluster.RotateAuthorities)
	pid3, admin3, ca3 := state()
	if pid3 == pid2 || admin3 == admin2 || ca3 == ca2 {
		t.Errorf("authorities: the control plane restarted: %v, certificates are new: %v, authorities are: %v", pid3 != pid2, admin3 != admin2, ca3 != ca2)
	}
	if !strings.Contains(r.file(second), base64.StdEncoding.EncodeToString([]byte(r.file(r.l.Trust("ca"))))) {
		t.Errorf("%s is out of date", second)
	}
	for _, node := range []string{"n1", "n2"} {
		if got := r.file(filepath.Join(r.l.NodeDir(node), "ca.crt")); got != ca3+ca {
			t.Errorf("node %s trusts %s", node, got)
		}
		if config := r.file(filepath.Join(r.l.NodeDir(node), "node.json")); !strings.Contains(config, `"renewBefore"`) {
			t.Errorf("node %s has %s", node, config)
		}
	}
	old := string(r.token)
	r.rotate(cluster.RetireAuthorities)
	if _, admin4, ca4 := state(); admin4[:len(admin4)-1] == "" || !strings.HasPrefix(admin3, admin4) || ca4 != ca3 {
		t.Error("retirement changed certificates")
	}
	if diff := cmp.Diff(r.trusted(), r.extension); diff != "" || string(r.token) == old {
		t.Errorf("extension API servers trust (-want +got): %s\ntoken in a Secret: %s", diff, r.token)
	}
	r.rotate(cluster.RetireAuthorities) // nothing is left to do
	if pid, _, _ := state(); pid == 0 {
		t.Error("no control plane")
	}
}

// TestRotationInterrupted ends a rotation at each of its events. Then the cluster, started again, has whole certificates, and the same
// command finishes the rotation.
func TestRotationInterrupted(t *testing.T) {
	for _, kind := range []cluster.RotationKind{cluster.RotateLeaves, cluster.RotateAuthorities, cluster.RetireAuthorities} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := newRotating(t, 0)
			interrupted := 0
			for at := 1; ; at++ {
				last, err := host.RotationOf(r.l)
				must(t, err)
				switch {
				case kind == cluster.RotateAuthorities && !last.Replaced.IsZero():
					r.rotate(cluster.RetireAuthorities)
				case kind == cluster.RetireAuthorities && last.Replaced.IsZero():
					r.rotate(cluster.RotateAuthorities)
				}
				if !r.interrupt(kind, at) {
					break
				}
				interrupted++
				if pid := planePID(t, r.bench); pid == 0 {
					t.Errorf("interrupted at event %d, and the control plane is off", at)
				}
				must(t, pki.Recover(r.l))
				must(t, pki.Ensure(r.l, cluster.DefaultSpec().Networking, time.Now()))
				if at%2 == 0 { // somebody starts the cluster in between
					r.mustUp(t, request(-1))
				}
				last, err = host.RotationOf(r.l)
				must(t, err)
				if last.Unfinished || last.Kind != kind || kind == cluster.RotateLeaves {
					r.rotate(kind)
				}
				r.mustUp(t, request(-1))
				r.whole()
			}
			if interrupted < 8 {
				t.Errorf("interrupted %d times: are there no events?", interrupted)
			}
		})
	}
}

// interrupt begins a rotation and ends it at an event. It returns false if there are fewer events.
func (r *rotating) interrupt(kind cluster.RotationKind, at int) bool {
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	n, record := 0, r.Events
	r.Events = func(e cluster.Event) {
		record(e)
		if n++; n == at {
			cancel()
		}
	}
	defer func() { r.Events = record }()
	err := r.RotateCertificates(ctx, "demo", host.RotateOptions{Kind: kind, Force: true})
	if n < at && err != nil {
		r.t.Fatal(describe(err))
	}
	return n >= at
}

// TestRotationRefused: each state that a rotation cannot begin in is named, with what to do, and nothing changes.
func TestRotationRefused(t *testing.T) {
	r := newRotating(t, 1)
	certificates := func(list ...cluster.Certificate) {
		data, err := json.Marshal(list)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(r.l.NodeDir("n1"), clustertest.CertificatesFile), data, 0o600))
	}
	refuse := func(name string, o host.RotateOptions, want, hint string) {
		t.Helper()
		before := r.file(r.l.PKI("apiserver.crt"))
		err := r.RotateCertificates(t.Context(), "demo", o)
		var e *cluster.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || !strings.Contains(e.Hint, hint) {
			t.Errorf("%s: error is %s, want %q and %q", name, describe(err), want, hint)
		}
		if r.file(r.l.PKI("apiserver.crt")) != before {
			t.Errorf("%s: certificates changed", name)
		}
	}
	leaves, authorities, retire := host.RotateOptions{Kind: cluster.RotateLeaves}, host.RotateOptions{Kind: cluster.RotateAuthorities}, host.RotateOptions{Kind: cluster.RetireAuthorities}

	certificates(cluster.Certificate{Name: "kubelet-client"})
	refuse("an older kl's node", leaves, "rotate certificates on node n1: it runs programs of an older kl", "'kl stop --name demo', then 'kl start --name demo'")
	must(t, os.WriteFile(filepath.Join(r.l.NodeDir("n1"), clustertest.CertificatesFile), []byte("{"), 0o600))
	refuse("a node that does not answer", authorities, "rotate certificates on node n1: ", "mend or remove the node first: 'kl node list --name demo'")
	must(t, os.Remove(filepath.Join(r.l.NodeDir("n1"), clustertest.CertificatesFile)))

	r.rotate(cluster.RotateAuthorities)
	refuse("old authorities are trusted", authorities, "rotate authorities of cluster demo: older ones are still trusted", "'kl certs rotate --retire --name demo' ends that")
	refuse("tokens live", retire, "retire old authorities of cluster demo: tokens that the old key has signed may live until ", "or end the trust now with --force")
	rotation, err := cluster.ReadRotation(r.l)
	must(t, err)
	rotation.Replaced = time.Now().Add(-25 * time.Hour)
	data, err := json.Marshal(rotation)
	must(t, err)
	must(t, os.WriteFile(r.l.RotationFile(), data, 0o600))
	r.pods = []map[string]any{pod("kube-system", "coredns", rotation.Published.Add(time.Second)), pod("default", "first", rotation.Published.Add(-time.Second))}
	refuse("an old pod", retire, "cluster demo: containers that began before the new authority may know the old one alone, restart them: default/first", "--force")
	r.pods = nil
	certificates(cluster.Certificate{Name: "kubelet-client", Issuer: "CN=kubernetes", Written: time.Now()})
	refuse("a kubelet with an old certificate", retire, "cluster demo: the kubelet of node n1 may have an old certificate: certificate kubelet-client is not there yet", "--force")
	must(t, os.Remove(filepath.Join(r.l.NodeDir("n1"), clustertest.CertificatesFile)))
	must(t, r.StopNode(t.Context(), "demo", "n1"))
	refuse("a node that is off", retire, "cluster demo: node n1 is stopped and has an old certificate", "--force")

	must(t, pki.Prepare(r.l, cluster.DefaultSpec().Networking, cluster.RetireAuthorities, time.Now()))
	refuse("another rotation was interrupted", leaves, "another rotation was interrupted", "'kl certs rotate --retire --name demo' finishes it")
	must(t, os.WriteFile(filepath.Join(r.l.Dir(), "pki.next", "rotation.json"), []byte("x"), 0o600))
	refuse("a damaged file", leaves, filepath.Join(r.l.Dir(), "pki.next", "rotation.json"), "restore the file")
	must(t, os.RemoveAll(filepath.Join(r.l.Dir(), "pki.next")))
	must(t, r.Stop(t.Context(), "demo"))
	refuse("stopped", leaves, "reach cluster demo: its control plane is stopped", "'kl start --name demo'")
	if err := r.RotateCertificates(t.Context(), "none", leaves); err == nil || !strings.HasPrefix(err.Error(), "find cluster none") {
		t.Errorf("no cluster: %v", err)
	}
}

func pod(namespace, name string, began time.Time) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec":     map[string]any{"volumes": []any{map[string]any{"projected": map[string]any{"sources": []any{map[string]any{"configMap": map[string]any{"name": "kube-root-ca.crt"}}}}}}},
		"status":   map[string]any{"containerStatuses": []any{map[string]any{"state": map[string]any{"running": map[string]any{"startedAt": began}}}}},
	}
}

// TestRotationThatEndsInBetween: whoever starts the control plane next puts the new certificates in place, and status says what is left.
func TestRotationThatEndsInBetween(t *testing.T) {
	r := newRotating(t, 0)
	must(t, pki.Prepare(r.l, cluster.DefaultSpec().Networking, cluster.RotateAuthorities, time.Now()))
	ca := r.file(r.l.PKI("ca.crt"))
	r.mustUp(t, request(-1)) // it runs: nothing is due
	if r.file(r.l.PKI("ca.crt")) != ca {
		t.Error("certificates changed under a control plane that runs")
	}
	kill(t, r.bench, planePID(t, r.bench)) // its supervisor starts it again, with the certificates that it has
	r.mustUp(t, request(-1))
	must(t, r.Stop(t.Context(), "demo"))
	_, err := r.Start(t.Context(), "demo", host.UpOptions{Timeout: time.Minute})
	must(t, err)
	if r.file(r.l.Trust("ca")) != r.file(r.l.PKI("ca.crt"))+ca {
		t.Error("kl start did not put the new authority in place")
	}
	info, err := r.Inspect(t.Context(), "demo")
	want := "a rotation of certificates was interrupted: 'kl certs rotate --cas --name demo' finishes it"
	if err != nil || !slices.Contains(info.Problems, want) {
		t.Errorf("problems %q, %v", info.Problems, err)
	}
	r.rotate(cluster.RotateAuthorities)
	info, err = r.Inspect(t.Context(), "demo")
	if err != nil || len(info.Problems) != 1 || !strings.HasSuffix(info.Problems[0], "are still trusted: 'kl certs rotate --retire --name demo' ends that") {
		t.Errorf("problems %q, %v", info.Problems, err)
	}
	if !bytes.Contains([]byte(r.file(r.l.PKI("apiserver.crt"))), []byte(r.file(r.l.PKI("ca-cross.crt")))) {
		t.Error("the API server does not show what the old authority says of the new one")
	}
}
