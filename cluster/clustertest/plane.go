package clustertest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// Plane is a control plane without Kubernetes: a process that has the files and the socket that package host relies on. The
// test's own binary runs as that process, so that nothing has to be built:
//
//	func TestMain(m *testing.M) { clustertest.PlaneMain(m) }
//
//	h := &host.Host{Home: home, Payload: clustertest.PlanePayload}
//	clustertest.Plane{Exit: "etcd: database is corrupt"}.Install(t, home)
//
// A node is ready once its directory has the file "running": see [Running].
type Plane struct {
	Exit    string                // end at once, with this error
	Once    string                // the same, the first time in a cluster
	Panic   string                // end at once, with a panic
	ExitOn  string                // the same, if cluster.yaml contains this text
	Refuse  string                // the check of a configuration refuses it with this text
	Hang    cluster.ComponentName // this component never serves
	Sick    cluster.ComponentName // this component fails permanently, which ends the control plane soon
	NoDNS   bool                  // cluster DNS never answers
	Error   string                // the scheduler serves and reports this error
	Lacking []string              // nodes that never become ready
	Version string                // of Kubernetes; v1.36.3 if empty
}

const (
	planeFile   = "plane.json"
	runningFile = "running"
	sickFor     = 50 * time.Millisecond
	planePoll   = 5 * time.Millisecond // how often the directories of nodes are read
)

// Install makes every control plane below home that starts from now on behave like p.
func (p Plane) Install(t *testing.T, home cluster.Home) {
	t.Helper()
	data, err := json.Marshal(p)
	must(t, err)
	must(t, os.MkdirAll(string(home), 0o700))
	must(t, os.WriteFile(filepath.Join(string(home), planeFile), data, 0o600))
}

// Running returns a function for Fake.Changed that makes the control plane see running nodes as ready.
func Running(home cluster.Home) func(op string, n cluster.Node) {
	return func(op string, n cluster.Node) {
		path := filepath.Join(home.Cluster(n.Cluster).NodeDir(n.Name), runningFile)
		switch op {
		case "create", "start", "resume":
			_ = os.WriteFile(path, nil, 0o600)
		case "stop", "kill", "pause", "delete":
			_ = os.Remove(path)
		}
	}
}

// PlanePayload is a payload whose engine is this test's binary.
func PlanePayload(context.Context) (cluster.Payload, error) {
	exe, err := os.Executable()
	return cluster.Payload{SHA: "fake", Engine: exe}, err
}

// PlaneMain runs the tests, or the control plane if this process was started as one.
func PlaneMain(m *testing.M) {
	switch {
	case len(os.Args) > 3 && os.Args[1] == "check":
		os.Exit(checkSpec(os.Args[3]))
	case len(os.Args) > 2 && os.Args[1] == "check": // of a node
		os.Exit(0)
	case len(os.Args) < 4 || os.Args[1] != "control-plane":
		os.Exit(m.Run())
	}
	if err := runPlane(os.Args[3]); err != nil {
		fmt.Println("fake control plane:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// checkSpec stands in for the engine's role check and returns its exit code.
func checkSpec(dir string) int {
	p, err := installed(layout(dir).Home)
	if err != nil {
		p.Refuse = err.Error()
	}
	if p.Refuse != "" {
		fmt.Println(p.Refuse)
		return 1
	}
	return 0
}

func layout(dir string) cluster.Layout {
	return cluster.Home(filepath.Dir(filepath.Dir(dir))).Cluster(filepath.Base(dir))
}

// installed is the Plane that Install has left.
func installed(home cluster.Home) (p Plane, err error) {
	data, err := os.ReadFile(filepath.Join(string(home), planeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	return p, err
}

func runPlane(dir string) error {
	l := layout(dir)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("fake control plane starts")
	p, err := installed(l.Home)
	if err != nil {
		return err
	}
	pid, err := statefile.Claim(l.PIDFile())
	if err != nil {
		return fmt.Errorf("lock pid file: %w", err)
	}
	defer pid.Unlock()
	if err := pid.Write(fmt.Appendln(nil, os.Getpid())); err != nil {
		return err
	}
	if p.Once != "" && mark(filepath.Join(l.RunDir(), "once")) {
		return fail(l, p.Once)
	}
	if p.Panic != "" {
		panic(p.Panic)
	}
	if spec, err := os.ReadFile(l.SpecFile()); err == nil && p.ExitOn != "" && strings.Contains(string(spec), p.ExitOn) {
		p.Exit = "cannot run with " + p.ExitOn
	}
	if p.Exit != "" {
		return fail(l, p.Exit)
	}
	if p.Sick != "" {
		limited, cancel := context.WithTimeout(ctx, sickFor)
		defer cancel()
		if err := p.serve(limited, l); err != nil || ctx.Err() != nil {
			return err
		}
		return fail(l, p.status(l, time.Now()).Reason)
	}
	return p.serve(ctx, l)
}

// mark creates a file and reports whether it did not exist.
func mark(path string) bool {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// fail leaves the reason for the end of the control plane behind, and returns it.
func fail(l cluster.Layout, reason string) error {
	return errors.Join(os.WriteFile(l.FailedFile(), []byte(reason+"\n"), 0o600), errors.New(reason))
}

func (p Plane) serve(ctx context.Context, l cluster.Layout) error {
	os.Remove(l.StatusSocket())
	ln, err := net.Listen("unix", l.StatusSocket())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	started := time.Now()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		enc := json.NewEncoder(w)
		last := ""
		tick := time.NewTicker(planePoll)
		defer tick.Stop()
		for {
			s := p.status(l, started)
			if text := fmt.Sprint(s); text != last {
				last = text
				if enc.Encode(s) != nil || !r.URL.Query().Has("watch") {
					return
				}
				w.(http.Flusher).Flush()
			}
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
			}
		}
	})
	mux.HandleFunc("/v1/nodes/{node}/v1/{what...}", func(w http.ResponseWriter, r *http.Request) { serveNode(w, r, l) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (p Plane) status(l cluster.Layout, started time.Time) cluster.Status {
	s := cluster.Status{
		Cluster: l.Name, PID: os.Getpid(), Started: started, Kubernetes: cmp.Or(p.Version, "v1.36.3"), Phase: cluster.PhaseReady,
		Ready:  cluster.Readiness{API: (p.Hang == "" || p.Hang == cluster.KubeScheduler) && p.Sick == "", DefaultServiceAccount: true, DNS: !p.NoDNS},
		Memory: 200_000_000,
	}
	for i, name := range []cluster.ComponentName{cluster.Etcd, cluster.KubeAPIServer, cluster.KubeScheduler} {
		c := cluster.ComponentStatus{
			Name: name, State: cluster.ComponentServing, Since: started, Began: float64(i), Ready: float64(i) + 0.5,
			LogFile: l.LogFile(name),
		}
		if name == cluster.KubeScheduler {
			c.Error = p.Error
		}
		switch name {
		case p.Hang:
			s.Phase, c.State, c.Ready = cluster.PhaseStarting, cluster.ComponentStarting, 0
		case p.Sick:
			s.Phase, s.Reason = cluster.PhaseFailed, string(name)+": it is sick"
			c.State, c.Error = cluster.ComponentFailed, "it is sick"
		}
		s.Components = append(s.Components, c)
	}
	dirs, _ := filepath.Glob(l.NodeDir("*"))
	for _, dir := range dirs {
		n := cluster.NodeStatus{Name: filepath.Base(dir)}
		if _, err := os.Stat(filepath.Join(dir, runningFile)); err == nil {
			ready := !strings.Contains(" "+strings.Join(p.Lacking, " ")+" ", " "+n.Name+" ")
			n.Connected, n.Registered, n.Ready, n.Kubelet = true, true, ready, "v1.36.3"
			if !ready {
				n.Reason = "container runtime is down"
			}
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// Files of a node's directory that stand in for its images.
const (
	ImagesFile = "images.json" // []cluster.Image that GET returns; none if missing
	PostedFile = "posted"      // body of the last POST, of images or their parts
	PartsFile  = "parts.json"  // []cluster.ImageParts that GET returns; none if missing
	PullsFile  = "pulls.json"  // by name, what POST of a pull answers: an object, or text for an image that is nowhere
	DeleteFile = "deleted"     // a line for each name of an image that was to be removed
	LayersFile = "layers.json" // []string that GET returns, with those that were PUT; the node shares none if missing

	CertificatesFile = "certificates.json" // []cluster.Certificate of the kubelet; two that it has just renewed if missing
)

// serveNode answers in the place of a node's agent.
func serveNode(w http.ResponseWriter, r *http.Request, l cluster.Layout) {
	dir := l.NodeDir(r.PathValue("node"))
	switch what := r.PathValue("what"); {
	case what == "info":
		fmt.Fprintln(w, `{"memoryBytes": 80000000}`)
	case what == "pull":
		servePull(w, r, filepath.Join(dir, PullsFile))
	case what == "image-parts" && r.Method == http.MethodGet:
		data, err := os.ReadFile(filepath.Join(dir, PartsFile))
		if err != nil {
			data = []byte("[]")
		}
		_, _ = w.Write(data)
	case (what == "images" || what == "image-parts") && r.Method == http.MethodPost:
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, PostedFile), body, 0o600)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "[]")
	case what == "images" && r.Method == http.MethodDelete:
		names := strings.Join(r.URL.Query()["name"], "\n") + "\n"
		if err := os.WriteFile(filepath.Join(dir, DeleteFile), []byte(names), 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "{}")
	case what == "images":
		data, err := os.ReadFile(filepath.Join(dir, ImagesFile))
		if err != nil {
			data = []byte("[]")
		}
		_, _ = w.Write(data)
	case what == "layers" || strings.HasPrefix(what, "layers/"):
		serveLayers(w, r, filepath.Join(dir, LayersFile), strings.TrimPrefix(what, "layers/"))
	case what == "certificates":
		data, err := os.ReadFile(filepath.Join(dir, CertificatesFile))
		if err != nil {
			data, err = renewed(l, r.PathValue("node"))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(data)
	default:
		http.NotFound(w, r)
	}
}

// serveLayers lists layers, or adds one whose content has its digest.
func serveLayers(w http.ResponseWriter, r *http.Request, file, id string) {
	data, err := os.ReadFile(file)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if r.Method == http.MethodGet {
		_, _ = w.Write(data)
		return
	}
	var ids []string
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(data, &ids)
	}
	if got := "sha256:" + hexSum(string(body)); err == nil && got != id {
		err = fmt.Errorf("layer %s has digest %s", id, got)
	}
	if err == nil {
		data, err = json.Marshal(append(ids, id))
	}
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	fmt.Fprintln(w, "{}")
}

// renewed is the certificates of a kubelet, issued just now by the authority that its node knows.
func renewed(l cluster.Layout, node string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(l.NodeDir(node), filepath.Base(cluster.NodeCAFile)))
	if err != nil {
		return nil, err
	}
	ca, err := cluster.ParseCertificate("ca", "", data)
	if err != nil {
		return nil, err
	}
	c := cluster.Certificate{Name: "kubelet-client", Node: node, Issuer: ca.Subject, Written: time.Now(), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}
	server := c
	server.Name = "kubelet-server"
	return json.Marshal([]cluster.Certificate{c, server})
}

// servePull answers as a file has it.
func servePull(w http.ResponseWriter, r *http.Request, file string) {
	var request struct{ Name string }
	answers := map[string]json.RawMessage{}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r)
		return
	}
	if err = errors.Join(err, json.Unmarshal(data, &answers), json.NewDecoder(r.Body).Decode(&request)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var reason string
	if json.Unmarshal(answers[request.Name], &reason) == nil {
		http.Error(w, reason, http.StatusNotFound)
		return
	}
	_, _ = w.Write(answers[request.Name])
}
