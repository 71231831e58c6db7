package traffic_test

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/embedded/tour"
	"github.com/klkube/kl/embedded/tour/tourtest"
	"github.com/klkube/kl/embedded/tour/traffic"
)

// start runs a server with more flags, and returns its addresses.
func start(t *testing.T, args ...string) (r *tourtest.Run, http, tcp, udp string) {
	t.Helper()
	r = tourtest.Start(t, traffic.Serve(), append([]string{"--http", "127.0.0.1:0", "--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0"}, args...)...)
	m := r.Wait(` listens: http (\S+), tcp (\S+), udp (\S+)\n`)
	return r, m[1], m[2], m[3]
}

func run(t *testing.T, p tour.Program, args ...string) (out string, err error) {
	t.Helper()
	r := tourtest.Start(t, p, args...)
	err = r.End()
	return r.Output(), err
}

// fetch returns what a path of a server answers.
func fetch(t *testing.T, url string, header ...string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return tourtest.Do(t, r)
}

func TestGetFromServer(t *testing.T) {
	server, http, tcp, udp := start(t, "--name", "server-0")
	for _, tt := range []struct{ url, logged string }{
		{"http://" + http, `http PEER GET /`},
		{"tcp://" + tcp, `tcp PEER connected`},
		{"udp://" + udp, `udp PEER sent a datagram`},
	} {
		out, err := run(t, traffic.Get(), tt.url, "--bind", "127.0.0.7")
		m := regexp.MustCompile(`^server-0 answers (127\.0\.0\.7:\d+)\n$`).FindStringSubmatch(out)
		if err != nil || m == nil {
			t.Errorf("%s: output %q, error %v", tt.url, out, err)
			continue
		}
		if want := strings.Replace(tt.logged, "PEER", m[1], 1) + "\n"; !strings.Contains(server.Output(), want) {
			t.Errorf("the server's log has no %q:\n%s", want, server.Output())
		}
	}
	for _, url := range []string{"http://" + http, "tcp://" + tcp, "udp://" + udp} {
		if out, err := run(t, traffic.Get(), url, "--count", "5", "--interval", "1ms"); err != nil || out != "5 requests, 0 failed: server-0 5\n" {
			t.Errorf("%s, five times: output %q, error %v", url, out, err)
		}
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
}

func TestPaths(t *testing.T) {
	_, addr, _, _ := start(t, "--name", "server-1")
	for _, tt := range []struct {
		path   string
		status int
		body   string
	}{
		{"/", 200, `^server-1 answers 127\.0\.0\.1:\d+\n$`},
		{"/version", 200, `^server-1\n$`},
		{"/healthz", 200, `^ok\n$`},
		{"/work?ms=1", 200, `^server-1 answers 127\.0\.0\.1:\d+\n$`},
		{"/work", 400, `^ms is "": want milliseconds from 0 to 60000, as in /work\?ms=100\n$`},
		{"/work?ms=-1", 400, `^ms is "-1"`},
		{"/work?ms=60001", 400, `^ms is "60001"`},
		{"/none", 404, ``},
		{"/header", 200, "^Host: " + addr + "\n(.*\n)*X-Forwarded-For: 10\\.0\\.0\\.1\n"},
	} {
		status, body := fetch(t, "http://"+addr+tt.path, "X-Forwarded-For", "10.0.0.1")
		if status != tt.status || !regexp.MustCompile(tt.body).MatchString(body) {
			t.Errorf("%s: status %d, body %q; want %d and %s", tt.path, status, body, tt.status, tt.body)
		}
	}
}

func TestReadyAfter(t *testing.T) {
	_, addr, _, _ := start(t, "--ready-after", "300ms")
	began := time.Now()
	status, body := fetch(t, "http://"+addr+"/healthz")
	if status != http.StatusServiceUnavailable && time.Since(began) < 200*time.Millisecond {
		t.Errorf("at the start: status %d, body %q", status, body)
	}
	for ; status != http.StatusOK; status, _ = fetch(t, "http://"+addr+"/healthz") {
		if time.Since(began) > 10*time.Second {
			t.Fatal("not ready after ten seconds")
		}
	}
}

// After SIGTERM the server says that it stops, and answers until --stop-after has passed.
func TestStopAfter(t *testing.T) {
	r, addr, tcp, _ := start(t, "--name", "server-2", "--stop-after", "500ms")
	stopped := make(chan error, 1)
	began := time.Now()
	go func() { stopped <- r.Stop() }()
	r.Wait("server-2 stops in 500ms\n")
	if status, body := fetch(t, "http://"+addr+"/healthz"); status != http.StatusServiceUnavailable || body != "server-2 is stopping\n" {
		t.Errorf("status %d, body %q", status, body)
	}
	if out, err := run(t, traffic.Get(), "tcp://"+tcp); err != nil {
		t.Errorf("tcp: output %q, error %v", out, err)
	}
	if err := <-stopped; err != nil || time.Since(began) < 500*time.Millisecond {
		t.Errorf("stopped after %s with error %v", time.Since(began), err)
	}
}

func TestServeFor(t *testing.T) {
	if out, err := run(t, traffic.Serve(), "--http", "127.0.0.1:0", "--tcp", "", "--udp", "", "--for", "10ms"); err != nil {
		t.Errorf("output %q, error %v", out, err)
	}
}

func TestNoAnswer(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	full, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := closed.Addr().String()
	closed.Close()
	_, addr, _, _ := start(t, "--ready-after", "1h")
	for _, tt := range []struct{ url, err string }{
		{"http://" + free + "/", "refused"},
		{"tcp://" + free, "refused"},
		{"udp://" + free, "refused"},
		{"http://" + full.Addr().String(), "timed out"},
		{"tcp://" + full.Addr().String(), "timed out"},
		{"udp://" + silent.LocalAddr().String(), "timed out"},
		{"http://" + addr + "/healthz", "status 503"},
	} {
		out, err := run(t, traffic.Get(), tt.url, "--timeout", "100ms")
		if want := fmt.Sprintf("get: %s: %s", tt.url, tt.err); err == nil || err.Error() != want {
			t.Errorf("output %q, error %v, want %s", out, err, want)
		}
		out, err = run(t, traffic.Get(), tt.url, "--timeout", "100ms", "--count", "2")
		want := fmt.Sprintf("get: %s: 2 of 2 requests failed", tt.url)
		if err == nil || err.Error() != want || out != "2 requests, 2 failed: "+tt.err+" 2\n" {
			t.Errorf("twice: output %q, error %v, want %s", out, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	server, addr, _, _ := start(t, "--name", "server-0")
	out, err := run(t, traffic.Load(), "http://"+addr, "--workers", "2", "--rate", "100", "--for", "1200ms")
	if err != nil || !regexp.MustCompile(`^\d+ requests, 0 failed: server-0 \d+\ntotal \d+ requests, 0 failed: server-0 \d+\n$`).MatchString(out) {
		t.Errorf("output %q, error %v", out, err)
	}
	var total int
	if _, err := fmt.Sscanf(out[strings.Index(out, "total"):], "total %d requests", &total); err != nil || total > 121 || total < 10 {
		t.Errorf("%d requests in 1.2 s at 100 a second", total)
	}
	if got := strings.Count(server.Output(), " GET /\n"); got != total {
		t.Errorf("load says %d requests, the server %d", total, got)
	}
}

// A request that fails is counted, and the load ends with an error, also if it is stopped.
func TestLoadFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r := tourtest.Start(t, traffic.Load(), "tcp://"+l.Addr().String(), "--rate", "0", "--workers", "1")
	r.Wait(`(?m)^\d+ requests, \d+ failed: refused \d+$`)
	if err := r.Stop(); err == nil || !strings.Contains(err.Error(), "requests failed") {
		t.Errorf("error %v", err)
	}
	r.Wait(`(?m)^total \d+ requests, \d+ failed: refused \d+$`)
}

func TestRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		program tour.Program
		args    string
		err     string
	}{
		{traffic.Serve(), "--http= --tcp= --udp=", "serve: --http, --tcp and --udp are all empty: give one of them an address"},
		{traffic.Serve(), "--http 127.0.0.1:0 --tcp " + taken.Addr().String(), "serve: listen on " + taken.Addr().String() + ": bind: address already in use"},
		{traffic.Serve(), "--ready-after -1s", "serve: --ready-after is -1s and --stop-after 0s: want times that are not negative"},
		{traffic.Get(), "server:8080", `get: "server:8080" is not a URL: want http://HOST:PORT/PATH, tcp://HOST:PORT or udp://HOST:PORT`},
		{traffic.Get(), "ftp://server", `get: "ftp://server" begins with ftp://: want http, https, tcp or udp`},
		{traffic.Get(), "tcp://server", `get: "tcp://server": want a port and no path, as in tcp://server:8081`},
		{traffic.Get(), "http://server --count 0", "get: --count is 0: want 1 or more"},
		{traffic.Get(), "http://server --timeout 0", "get: --timeout is 0s: want more than 0"},
		{traffic.Get(), "http://server --interval -1s", "get: --interval is -1s: want a time that is not negative"},
		{traffic.Get(), "http://server --bind eth0", `get: --bind is "eth0": want an IP address of this host`},
		{traffic.Load(), "http://server --workers 0", "load: --workers is 0: want 1 to 1000"},
		{traffic.Load(), "http://server --rate -1", "load: --rate is -1: want 0 or more requests a second"},
	} {
		if _, err := run(t, tt.program, strings.Fields(tt.args)...); err == nil || err.Error() != tt.err {
			t.Errorf("%s %s: error %v, want %s", tt.program.Name, tt.args, err, tt.err)
		}
	}
}

// A client that is stopped does not wait for its answer.
func TestGetStops(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := tourtest.Start(t, traffic.Get(), "http://"+silent.Addr().String(), "--timeout", "1m")
	c, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := r.Stop(); err == nil || !strings.HasSuffix(err.Error(), ": stopped") {
		t.Errorf("error %v", err)
	}
}
