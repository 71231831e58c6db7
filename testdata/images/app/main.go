// Command app is what the test images run: a web server that says who it is, a validating webhook, and the clients that
// ask them. It is static, so that an image needs nothing else.
//
//	app serve -addr :8080                        # GET / tells the pod's name, GET /client the caller's address,
//	                                             # /burn?for=30s keeps a processor busy, /hold?bytes=1000 memory
//	app serve -udp :8053                         # and answers datagrams with the pod's name and what they say
//	app webhook -cert tls.crt -key tls.key       # denies objects with the label kl.test/deny
//	app lookup -for 20s web.default.svc.cluster.local
//	app get -for 20s http://web/
//	app mesh -ports 80,81 -addr :9000            # listens on ports, and tells at GET /probe?for=1s&to=… whom the pod reaches
//	app dial -for 3s 10.244.0.7:80               # dials from its first moment on, and tells how often it got through
//	app api /version                             # asks the API server, as the pod's service account
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		args = []string{"serve"}
	}
	flags := flag.NewFlagSet("app "+args[0], flag.ContinueOnError)
	addr := flags.String("addr", ":8080", "address to listen on")
	cert := flags.String("cert", "/tls/tls.crt", "certificate of the webhook")
	key := flags.String("key", "/tls/tls.key", "its key")
	udp := flags.String("udp", "", "UDP address to listen on as well")
	ports := flags.String("ports", "80,81", "ports that mesh listens on")
	patience := flags.Duration("for", 0, "how long to try again")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "serve":
		if err := serveUDP(ctx, *udp); err != nil {
			return err
		}
		return serve(ctx, *addr, pages(), func(s *http.Server, l net.Listener) error { return s.Serve(l) })
	case "webhook":
		return serve(ctx, *addr, http.HandlerFunc(review), func(s *http.Server, l net.Listener) error { return s.ServeTLS(l, *cert, *key) })
	case "mesh":
		return mesh(ctx, *addr, *ports)
	case "dial":
		return dialAll(ctx, out, flags.Arg(0), *patience)
	case "lookup":
		return retry(ctx, *patience, func(ctx context.Context) error { return lookup(ctx, out, flags.Arg(0)) })
	case "get":
		return retry(ctx, *patience, func(ctx context.Context) error { return get(ctx, out, http.DefaultClient, flags.Arg(0), "") })
	case "api":
		return retry(ctx, *patience, func(ctx context.Context) error { return api(ctx, out, flags.Arg(0)) })
	}
	return fmt.Errorf("no such command: %s", args[0])
}

func serve(ctx context.Context, addr string, h http.Handler, run func(*http.Server, net.Listener) error) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("serving on", l.Addr())
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := run(server, l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	fmt.Println("stopped")
	return nil
}

// serveUDP answers datagrams until ctx is done, if there is an address to do so.
func serveUDP(ctx context.Context, addr string) error {
	if addr == "" {
		return nil
	}
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", addr)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	name, _ := os.Hostname()
	go func() {
		for buf := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(writeTo{conn, from}, "%s heard %s", name, buf[:n])
		}
	}()
	return nil
}

// writeTo writes datagrams to one peer.
type writeTo struct {
	net.PacketConn
	peer net.Addr
}

func (w writeTo) Write(p []byte) (int, error) { return w.WriteTo(p, w.peer) }

// pages are what a server answers.
func pages() http.Handler {
	var l load
	mux := http.NewServeMux()
	mux.HandleFunc("/", tell)
	mux.HandleFunc("/burn", l.burn)
	mux.HandleFunc("/hold", l.hold)
	return mux
}

// tell answers what tests want to know about a server.
func tell(w http.ResponseWriter, r *http.Request) {
	fmt.Println(r.Method, r.URL.Path)
	switch r.URL.Path {
	case "/client":
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintln(w, host)
	case "/echo":
		_, _ = io.Copy(w, r.Body)
	default:
		name, _ := os.Hostname()
		fmt.Fprintln(w, "hello from", name)
	}
}

// retry tries f until it succeeds, at most for patience.
func retry(ctx context.Context, patience time.Duration, f func(context.Context) error) error {
	began := time.Now()
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := f(attempt)
		cancel()
		if err == nil || time.Since(began) >= patience {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func lookup(ctx context.Context, out io.Writer, name string) error {
	addrs, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return err
	}
	slices.Sort(addrs)
	fmt.Fprintln(out, strings.Join(addrs, " "))
	return nil
}

// api asks the API server by its name in the cluster, and checks its certificate.
func api(ctx context.Context, out io.Writer, path string) error {
	const account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	return get(ctx, out, client, "https://kubernetes.default"+path, string(token))
}

func get(ctx context.Context, out io.Writer, client *http.Client, url, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", url, resp.Status)
	}
	_, err = io.Copy(out, resp.Body)
	return err
}
