package host

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/encryption"
	"github.com/klkube/kl/cluster/statefile"
)

// apiServer answers on the status socket as a control plane does. It loads the file when it is asked whether it has, and at each request
// somebody creates an object of each resource.
type apiServer struct {
	t      *testing.T
	layout cluster.Layout

	mu      sync.Mutex
	loaded  encryption.Config
	hash    string
	objects map[string][]encryption.Key // resource → what each object is stored under
	refuses func(encryption.Config) bool
	before  func() // called before a request is answered
}

var encryptable = []string{"configmaps", "secrets"}

func startAPIServer(t *testing.T, e cluster.Encryption) *apiServer {
	t.Helper()
	dir, err := os.MkdirTemp("", "kl") //nolint:usetesting // sockets need a shorter path than t.TempDir gives
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a := &apiServer{t: t, layout: cluster.Home(dir).Cluster("dev"), objects: map[string][]encryption.Key{}}
	if err := statefile.MkdirAll(a.layout.RunDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	spec := cluster.DefaultSpec()
	spec.Name, spec.Kubernetes.APIServerPort, spec.Encryption = "dev", 6443, e.Default()
	if err := cluster.WriteSpec(a.layout, spec); err != nil {
		t.Fatal(err)
	}
	if err := cluster.WriteOrigin(a.layout); err != nil {
		t.Fatal(err)
	}
	if err := ensureEncryption(a.layout, spec.Encryption); err != nil {
		t.Fatal(err)
	}
	pid, err := statefile.Claim(a.layout.PIDFile())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pid.Unlock)
	if err := pid.Write([]byte(fmt.Sprintln(os.Getpid()))); err != nil {
		t.Fatal(err)
	}
	a.load()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", a.layout.StatusSocket())
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/encryption", a.serveTallies)
	mux.HandleFunc("GET /v1/encryption/loaded", a.serveLoaded)
	mux.HandleFunc("POST /v1/encryption/rewrite", a.serveRewrite)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return a
}

func (a *apiServer) load() {
	c, hash, err := encryption.Read(a.layout)
	if err != nil {
		a.t.Error(err)
		return
	}
	if a.refuses != nil && a.refuses(c) {
		return
	}
	a.loaded, a.hash = c, hash
	for r, keys := range a.objects {
		for _, k := range keys {
			if !slices.ContainsFunc(reads(c, r), k.Same) {
				a.t.Errorf("%s under %s cannot be read with %v", r, k, c)
			}
		}
	}
}

func reads(c encryption.Config, resource string) []encryption.Key {
	if keys := c[resource]; len(keys) > 0 {
		return keys
	}
	return []encryption.Key{encryption.Plain()}
}

// begin is called, and holds the lock, for each request.
func (a *apiServer) begin() {
	if a.before != nil {
		a.before()
	}
	a.mu.Lock()
	for _, r := range encryptable {
		a.objects[r] = append(a.objects[r], a.loaded.Writes(r))
	}
}

func (a *apiServer) serveLoaded(w http.ResponseWriter, r *http.Request) {
	a.begin()
	defer a.mu.Unlock()
	if r.Context().Err() != nil { // the command is gone: the API server has not looked yet
		return
	}
	a.load()
	if a.hash != r.URL.Query().Get("hash") {
		http.Error(w, "the API server cannot load it", http.StatusConflict)
	}
}

func (a *apiServer) serveTallies(w http.ResponseWriter, r *http.Request) {
	a.begin()
	defer a.mu.Unlock()
	var tallies []encryption.Tally
	for _, name := range r.URL.Query()["resource"] {
		t := encryption.Tally{Resource: name}
		for _, k := range a.objects[name] {
			t.Count(k)
		}
		tallies = append(tallies, t)
	}
	_ = json.NewEncoder(w).Encode(tallies)
}

func (a *apiServer) serveRewrite(w http.ResponseWriter, r *http.Request) {
	a.begin()
	defer a.mu.Unlock()
	var request encryption.RewriteRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		a.t.Error(err)
	}
	enc := json.NewEncoder(w)
	for _, t := range request.Targets {
		keys := a.objects[t.Resource]
		for i := range keys {
			keys[i] = a.loaded.Writes(t.Resource)
			_ = enc.Encode(encryption.RewriteProgress{Resource: t.Resource, Done: i + 1, Of: len(keys)})
			if i == len(keys)/2 && r.Context().Err() != nil {
				return
			}
		}
	}
	_ = enc.Encode(encryption.RewriteProgress{Finished: true})
}

// check wants every object of the resources under one key of the provider, which is not one of old, and no other key in the file.
func (a *apiServer) check(e cluster.Encryption, old ...encryption.Key) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, hash, err := encryption.Read(a.layout)
	if err != nil {
		return err
	}
	if hash != a.hash {
		return fmt.Errorf("the API server has not loaded %v", c)
	}
	for _, r := range encryptable {
		want := cluster.EncryptionNone
		if slices.Contains(e.Resources, r) {
			want = e.Provider
		}
		if keys := reads(c, r); len(keys) != 1 || keys[0].Provider != want || slices.ContainsFunc(old, keys[0].Same) {
			return fmt.Errorf("%s: %v, want one of %s", r, keys, want)
		}
		for _, k := range a.objects[r] {
			if !k.Same(c.Writes(r)) {
				return fmt.Errorf("%s are stored under %s, not %s", r, k, c.Writes(r))
			}
		}
	}
	return nil
}

func (a *apiServer) keys() []encryption.Key {
	c, _, err := encryption.Read(a.layout)
	if err != nil {
		a.t.Fatal(err)
	}
	return c.Keys()
}

func (a *apiServer) host(events func(cluster.Event)) *Host {
	return &Host{Home: a.layout.Home, Events: events}
}

// verb is a command that changes keys.
type verb struct {
	name   string
	from   cluster.Encryption
	to     cluster.Encryption
	rotate bool
	run    func(context.Context, *Host) error
}

func verbs() []verb {
	box := cluster.Encryption{}.Default()
	none := cluster.Encryption{Provider: cluster.EncryptionNone}.Default()
	more := cluster.Encryption{Provider: cluster.EncryptionAESGCM, Resources: encryptable}
	encrypt := func(want cluster.Encryption) func(context.Context, *Host) error {
		return func(ctx context.Context, h *Host) error { return h.EncryptSecrets(ctx, "dev", want) }
	}
	return []verb{
		{"rotate", box, box, true, func(ctx context.Context, h *Host) error { return h.RotateSecrets(ctx, "dev") }},
		{"decrypt", box, none, false, func(ctx context.Context, h *Host) error { return h.DecryptSecrets(ctx, "dev") }},
		{"encrypt", none, box, false, encrypt(cluster.Encryption{})},
		{"more", box, more, false, encrypt(more)},
		{"fewer", more, box, false, encrypt(box)},
	}
}

// TestKilledAtEveryEvent ends the goroutine of a command at each event, as a kill does, and gives the command again.
func TestKilledAtEveryEvent(t *testing.T) {
	for _, v := range verbs() {
		t.Run(v.name, func(t *testing.T) {
			kills := 0
			for at := 1; ; at++ {
				a := startAPIServer(t, v.from)
				old := a.keys()
				n, killed := 0, false
				done := make(chan struct{})
				go func() {
					defer close(done)
					h := a.host(func(cluster.Event) {
						if n++; n == at {
							killed = true
							runtime.Goexit()
						}
					})
					if err := v.run(t.Context(), h); err != nil {
						t.Error(err)
					}
				}()
				<-done
				v.again(t, a, old, fmt.Sprintf("killed at event %d", at), killed)
				if !killed {
					break
				}
				kills++
			}
			if kills < 8 {
				t.Errorf("killed %d times: are there no events?", kills)
			}
		})
	}
}

// TestInterruptedAtEveryRequest ends the context of a command before each request is answered.
func TestInterruptedAtEveryRequest(t *testing.T) {
	for _, v := range verbs() {
		t.Run(v.name, func(t *testing.T) {
			for at := 1; ; at++ {
				a := startAPIServer(t, v.from)
				old := a.keys()
				ctx, cancel := context.WithCancel(t.Context())
				n := 0
				a.before = func() {
					if n++; n == at {
						cancel()
					}
				}
				err := v.run(ctx, a.host(nil))
				killed := ctx.Err() != nil
				cancel()
				if !killed && err != nil {
					t.Fatal(err)
				}
				a.mu.Lock()
				a.before = nil
				a.mu.Unlock()
				v.again(t, a, old, fmt.Sprintf("interrupted at request %d", at), err != nil)
				if !killed {
					if at < 6 {
						t.Errorf("%d requests", at)
					}
					break
				}
			}
		})
	}
}

// again gives a command again that was interrupted, and wants its end.
func (v verb) again(t *testing.T, a *apiServer, old []encryption.Key, when string, interrupted bool) {
	t.Helper()
	if interrupted {
		if err := v.run(t.Context(), a.host(nil)); err != nil {
			t.Fatalf("%s, given again: %v", when, err)
		}
	}
	if !v.rotate {
		old = nil
	}
	if err := a.check(v.to, old...); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	s, err := a.host(nil).Secrets(t.Context(), "dev")
	if err != nil || s.Unfinished {
		t.Errorf("%s: %+v, %v", when, s, err)
	}
}

// TestUnfinished: status says that a change was interrupted, and a rotation is not begun anew by the command that finishes it.
func TestUnfinished(t *testing.T) {
	a := startAPIServer(t, cluster.Encryption{})
	c, _, err := encryption.Read(a.layout)
	if err != nil {
		t.Fatal(err)
	}
	second := encryption.NewKey(cluster.EncryptionSecretbox, time.Now(), c.Keys())
	c["secrets"] = append(c["secrets"], second)
	if err := encryption.Write(a.layout, c, ""); err != nil {
		t.Fatal(err)
	}
	s, err := a.host(nil).Secrets(t.Context(), "dev")
	if err != nil || !s.Unfinished || len(s.Keys) != 2 || !s.Keys[0].Writes || s.Keys[1].Writes {
		t.Fatalf("%+v, %v", s, err)
	}
	if err := a.host(nil).RotateSecrets(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	if keys := a.keys(); len(keys) != 1 || !keys[0].Same(second) {
		t.Errorf("%v, want %s", keys, second)
	}
}

// TestRefusedConfiguration: what the API server cannot load is taken back.
func TestRefusedConfiguration(t *testing.T) {
	a := startAPIServer(t, cluster.Encryption{})
	old := a.keys()
	a.refuses = func(c encryption.Config) bool { return len(c.Keys()) > 1 }
	err := a.host(nil).RotateSecrets(t.Context(), "dev")
	if err == nil || !strings.Contains(err.Error(), "cannot load it") {
		t.Fatalf("error %v", err)
	}
	if keys := a.keys(); len(keys) != 1 || !keys[0].Same(old[0]) {
		t.Errorf("the file has %v", keys)
	}
}

// TestOlderCluster has neither a configuration nor a word about it in cluster.yaml.
func TestOlderCluster(t *testing.T) {
	l := cluster.Home(t.TempDir()).Cluster("dev")
	if err := statefile.MkdirAll(l.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := ensureEncryption(l, cluster.Encryption{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.EncryptionConfig()); err == nil {
		t.Error("a cluster of an older kl got keys")
	}
	if err := statefile.MkdirAll(filepath.Join(l.EtcdDir(), "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := ensureEncryption(l, cluster.Encryption{}.Default()); err == nil || !strings.Contains(err.Error(), l.EncryptionConfig()) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(l.EncryptionConfig()); err == nil {
		t.Error("a cluster with data, whose configuration is missing, got a new key")
	}
}
