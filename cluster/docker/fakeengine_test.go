package docker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"

	"github.com/klkube/kl/cluster/docker"
)

// fakeEngine serves the part of the Docker API that Create uses on a unix socket, and records the requests.
type fakeEngine struct {
	version      string // of the API
	info         system.Info
	noPrivileged bool // starting a privileged container fails, as without CAP_SYS_RESOURCE
	remote       bool // it is reached by TCP
	together     int  // containers start once there are as many
	ends         bool // containers end as soon as they start
	networks     []network.Inspect
	volume       int // status that removing one gives

	mu         sync.Mutex
	calls      []string // method, path and status of requests that change something
	containers map[string]*created
	imported   int
}

type created struct {
	container.Config
	HostConfig       container.HostConfig
	NetworkingConfig network.NetworkingConfig
	started          bool
	mounts           []container.MountPoint
}

// serve returns a driver on the fake engine.
func (f *fakeEngine) serve(t *testing.T) (*docker.Driver, error) {
	t.Helper()
	f.containers = map[string]*created{}
	network, address := "unix", filepath.Join(t.TempDir(), "s")
	if f.remote {
		network, address = "tcp", "127.0.0.1:0"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: f}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return docker.New(t.Context(), docker.Options{Home: home(), Host: network + "://" + l.Addr().String()})
}

func (f *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", f.version)
	w.Header().Set("Content-Type", "application/json")
	path := r.URL.Path
	if strings.HasPrefix(path, "/v1.") {
		path = path[strings.Index(path[1:], "/")+1:]
	}
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	status, answer := f.answer(r, path, body)
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !strings.HasSuffix(path, "/wait") {
		f.calls = append(f.calls, fmt.Sprintf("%s %s %d", r.Method, path, status))
	}
	if text, ok := answer.(string); ok && status >= 400 {
		answer = map[string]string{"message": text}
	}
	w.WriteHeader(status)
	if answer != nil {
		_ = json.NewEncoder(w).Encode(answer)
	}
	if strings.HasSuffix(path, "/wait") && !f.ends {
		w.(http.Flusher).Flush()
		f.mu.Unlock()
		<-r.Context().Done() // the container runs on
		f.mu.Lock()
	}
}

func (f *fakeEngine) answer(r *http.Request, path string, body []byte) (int, any) {
	switch route := r.Method + " " + path; {
	case path == "/_ping":
		return 200, nil
	case path == "/info":
		return 200, f.info
	case route == "GET /images/json":
		return 200, []image.Summary{}
	case route == "GET /images/kl.local/node:abc-"+home().Owner()+"/json":
		if f.imported == 0 {
			return 404, "no such image"
		}
		return 200, map[string]string{"Id": "sha256:abc"}
	case route == "POST /images/create":
		f.imported++
		return 200, map[string]string{"status": "sha256:abc"}
	case route == "GET /networks":
		return 200, f.matching(r)
	case route == "POST /networks/create":
		return f.createNetwork(body)
	case strings.HasPrefix(route, "DELETE /networks/"):
		f.networks = nil
		return 204, nil
	case strings.HasPrefix(route, "DELETE /volumes/"):
		return max(f.volume, 204), "the engine's answer"
	case route == "GET /containers/json":
		return 200, f.list()
	case route == "POST /containers/create":
		return f.createContainer(r, body)
	case strings.HasPrefix(path, "/containers/"):
		id, verb, _ := strings.Cut(strings.TrimPrefix(path, "/containers/"), "/")
		return f.container(r.Method, id, verb)
	}
	return 501, "the fake engine does not know " + path
}

func (f *fakeEngine) matching(r *http.Request) []network.Inspect {
	list := []network.Inspect{}
	for _, n := range f.networks {
		if filter := r.URL.Query().Get("filters"); filter == "" || strings.Contains(filter, "dev.kl.cluster="+n.Labels["dev.kl.cluster"]+`"`) {
			list = append(list, n)
		}
	}
	return list
}

func (f *fakeEngine) createNetwork(body []byte) (int, any) {
	var n network.CreateRequest
	if err := json.Unmarshal(body, &n); err != nil {
		return 400, err.Error()
	}
	for _, other := range f.networks {
		if other.IPAM.Config[0].Subnet == n.IPAM.Config[0].Subnet {
			return 403, "Pool overlaps with other one on this address space"
		}
	}
	f.networks = append(f.networks, network.Inspect{Name: n.Name, ID: n.Name, IPAM: *n.IPAM, Labels: n.Labels, Options: n.Options})
	return 201, network.CreateResponse{ID: n.Name}
}

func (f *fakeEngine) createContainer(r *http.Request, body []byte) (int, any) {
	id := r.URL.Query().Get("name")
	if f.containers[id] != nil {
		return 409, "Conflict. The container name is already in use"
	}
	var c created
	if err := json.Unmarshal(body, &c); err != nil {
		return 400, err.Error()
	}
	f.containers[id] = &c
	return 201, container.CreateResponse{ID: id}
}

func (f *fakeEngine) container(method, id, verb string) (int, any) {
	c := f.containers[id]
	switch {
	case c == nil:
		return 404, "no such container"
	case verb == "wait" && f.ends:
		return 200, container.WaitResponse{StatusCode: 3}
	case verb == "wait":
		return 200, nil
	case verb == "start" && len(f.containers) < f.together:
		f.mu.Unlock()
		time.Sleep(time.Millisecond)
		f.mu.Lock()
		return f.container(method, id, verb)
	case verb == "start" && f.together > 0: // all are there
		f.together = 0
		return f.container(method, id, verb)
	case verb == "start" && f.noPrivileged && c.HostConfig.Privileged:
		return 500, "OCI runtime create failed: unable to apply caps: operation not permitted: unknown"
	case verb == "start":
		c.started = true
		return 204, nil
	case verb == "json":
		return 200, map[string]any{
			"Id": id, "Created": "2026-01-02T03:04:05.678Z", "State": map[string]any{"Status": "running", "Running": true}, "Config": c.Config,
			"Mounts": c.mounts,
		}
	case method == http.MethodDelete:
		delete(f.containers, id)
		return 204, nil
	}
	return 501, "the fake engine does not know " + verb
}

func (f *fakeEngine) list() []container.Summary {
	list := []container.Summary{}
	for id, c := range f.containers {
		s := container.Summary{ID: id, Labels: c.Labels, State: "created", Mounts: c.mounts}
		if c.started {
			s.State = "running"
		}
		list = append(list, s)
	}
	return list
}
