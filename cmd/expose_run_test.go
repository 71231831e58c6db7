package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster"
)

// exposed returns a machine with a cluster kl whose API has Services in namespace shop, and whose status socket answers
// for the load balancer of web: port 80 echoes and then says bye, port 81 does not answer.
func exposed(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	api := http.NewServeMux()
	api.HandleFunc("GET /kl-kl/api/v1/namespaces/shop/services/{name}", func(w http.ResponseWriter, r *http.Request) {
		svc := corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}, {Port: 81}}}}
		svc.APIVersion, svc.Kind, svc.Name = "v1", "Service", r.PathValue("name")
		switch svc.Name {
		case "web":
			svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.200"}}
		case "pending":
		case "plain":
			svc.Spec.Type = corev1.ServiceTypeClusterIP
		default:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(svc)
	})
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	l := m.env.Home.Cluster("kl")
	writeKubeconfig(t, l.Kubeconfig(), server.URL, "kl-kl")
	plane := http.NewServeMux()
	plane.HandleFunc("POST /v1/balancers/shop/web/80", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "tcp")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, stream, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, stream)
		_, _ = io.WriteString(conn, "bye")
	})
	plane.HandleFunc("POST /v1/balancers/shop/web/81", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no pod is ready", http.StatusBadGateway)
	})
	serveStatus(t, l, plane)
	return m
}

// serveStatus writes the spec of a cluster and has h answer on its status socket until the test ends.
func serveStatus(t *testing.T, l cluster.Layout, h http.Handler) {
	t.Helper()
	spec := cluster.DefaultSpec()
	spec.Name, spec.Kubernetes.APIServerPort = l.Name, 6443
	if err := errors.Join(os.MkdirAll(filepath.Dir(l.StatusSocket()), 0o700), cluster.WriteSpec(l, spec)); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", l.StatusSocket())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(socket) }() // returns when the server is closed
	t.Cleanup(func() { server.Close() })
}

func TestExpose(t *testing.T) {
	m := exposed(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	stdout, out := io.Pipe()
	stderr, errs := io.Pipe()
	e := m.env
	e.Out, e.Err = out, errs
	x := exposer{env: newEnv(e), namespace: "shop", service: "web", ports: []publishFlag{{0, "80"}, {0, "81"}}} // 0: any free port
	ended := make(chan error, 1)
	go func() { ended <- x.run(ctx) }()
	printed := bufio.NewReader(stdout)
	var addresses []string
	for _, port := range []string{"80", "81"} {
		line, err := printed.ReadString('\n')
		found := regexp.MustCompile(`^Forwarding (127\.0\.0\.1:\d+) to port ` + port + ` of svc/web, load balancer address 192\.0\.2\.200\n$`).FindStringSubmatch(line)
		if err != nil || found == nil {
			t.Fatalf("printed %q, error %v", line, err)
		}
		addresses = append(addresses, found[1])
	}
	notes := bufio.NewReader(stderr)
	if line, err := notes.ReadString('\n'); err != nil || line != "Press Ctrl-C to stop.\n" {
		t.Errorf("printed %q, error %v", line, err)
	}

	conn := dialTCP(t, addresses[0])
	if _, err := conn.Write([]byte("hello ")); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "hello bye" {
		t.Errorf("after the end of the request: %q, error %v", answer, err)
	}

	refused := dialTCP(t, addresses[1])
	if line, err := notes.ReadString('\n'); err != nil || !strings.Contains(line, "no pod is ready") {
		t.Errorf("printed %q, error %v", line, err)
	}
	if _, err := refused.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no endpoint: %v, want a reset connection", err)
	}

	open := dialTCP(t, addresses[0])
	cancel(ErrInterrupted)
	if err := <-ended; !errors.Is(err, ErrInterrupted) {
		t.Errorf("run returned %v", err)
	}
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("a connection is still open")
	}
	if _, err := net.Dial("tcp", addresses[0]); err == nil {
		t.Error("the port is still open")
	}
}

func dialTCP(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func TestExposeErrors(t *testing.T) {
	m := exposed(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no such Service", []string{"other"}, exitFailed, "kl: expose svc/other: namespace shop has no such Service\n    'kl kubectl get services -A' lists all Services; -n selects the namespace\n"},
		{"no load balancer", []string{"plain"}, exitFailed, "kl: expose svc/plain: the Service is of type ClusterIP, not LoadBalancer\n    use 'kl kubectl -n shop port-forward svc/plain', or change the type: "},
		{"no address", []string{"svc/pending"}, exitFailed, "kl: expose svc/pending: the Service has no address yet\n    'kl kubectl -n shop describe svc pending' shows why\n"},
		{"several ports", []string{"web", "--port", "8080"}, exitUsage, "kl: --port 8080: the Service has several TCP ports: use HOST:PORT with one of 80, 81\n"},
		{"a port that is taken", []string{"web", "--port", fmt.Sprintf("%d:80", port)}, exitFailed, fmt.Sprintf("kl: publish port %d: listen tcp 127.0.0.1:%d: bind: address already in use\n    use another port: --port ", port, port)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, code := m.run(append([]string{"expose", "-n", "shop"}, tt.args...)...)
			if code != tt.code || !strings.HasPrefix(stderr, tt.want) {
				t.Errorf("exit code %d, want %d; printed %q, want %q", code, tt.code, stderr, tt.want)
			}
		})
	}
}
