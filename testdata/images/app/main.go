// Command app is the program of the test images: a web server that answers with its name, a validating webhook, and clients
// of both. It is static, so that an image needs no other file.
//
//	app serve -addr :8080                        # GET / returns the pod's name, GET /client the caller's address,
//	                                             # /api?path=/version asks the API with the authority and token of the start,
//	                                             # /burn?for=30s keeps a processor busy, /hold?bytes=1000 takes memory
//	app serve -udp :8053                         # also answers datagrams with the pod's name and their content
//	app journal -file /data/lines                # POST / appends a line and answers once the disk has it, GET / returns all lines
//	app webhook -cert tls.crt -key tls.key       # denies objects with the label kl.test/deny
//	app lookup -for 20s web.default.svc.cluster.local
//	app get -for 20s http://web/
//	app mesh -ports 80,81 -addr :9000            # listens on ports; GET /probe?for=1s&to=… returns which targets the pod reaches
//	app dial -for 3s 10.244.0.7:80               # dials from the first moment of the process and prints how often it succeeded
//	app forge -kind tcp -from 10.244.0.9 10.244.0.7:80  # sends packets with the address of another
//	app syn 127.0.0.1:10248                      # asks the gateway for an address of its own, and succeeds if that answers
//	app api /version                             # requests a path of the API server, as the pod's service account
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
	udp := flags.String("udp", "", "UDP address to listen on, too")
	file := flags.String("file", "/data/lines", "file of the journal")
	ports := flags.String("ports", "80,81", "ports that mesh listens on")
	kind := flags.String("kind", "udp", "what forge sends: udp, tcp or arp")
	from := flags.String("from", "", "address that forge pretends to have")
	via := flags.String("via", "", "neighbour that forge sends to; the default gateway")
	limit := flags.Duration("for", 0, "how long to retry")
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
	case "journal":
		return serveJournal(ctx, *addr, *file)
	case "mesh":
		return mesh(ctx, *addr, *ports)
	case "dial":
		return dialAll(ctx, out, flags.Arg(0), *limit)
	case "lookup":
		return retry(ctx, *limit, func(ctx context.Context) error { return lookup(ctx, out, flags.Arg(0)) })
	case "get":
		return retry(ctx, *limit, func(ctx context.Context) error { return get(ctx, out, http.DefaultClient, flags.Arg(0), "") })
	case "forge":
		return forge(ctx, out, *kind, *from, *via, flags.Arg(0))
	case "syn":
		return syn(ctx, out, flags.Arg(0))
	case "api":
		return retry(ctx, *limit, func(ctx context.Context) error { return api(ctx, out, flags.Arg(0)) })
	}
	return fmt.Errorf("unknown command %q", args[0])
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

// serveUDP answers datagrams until ctx is done. It does nothing if addr is empty.
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
			fmt.Printf("heard %s from %s\n", buf[:n], from)
			_, _ = fmt.Fprintf(writeTo{conn, from}, "%s heard %s", name, buf[:n])
		}
	}()
	return nil
}

// writeTo sends datagrams to one peer.
type writeTo struct {
	net.PacketConn
	peer net.Addr
}

func (w writeTo) Write(p []byte) (int, error) { return w.WriteTo(p, w.peer) }

// pages are the paths of a server.
func pages() http.Handler {
	var l load
	mux := http.NewServeMux()
	mux.HandleFunc("/", answer)
	mux.HandleFunc("/burn", l.burn)
	mux.HandleFunc("/hold", l.hold)
	mux.HandleFunc("/api", first())
	return mux
}

// answer returns what tests want to know about a server.
func answer(w http.ResponseWriter, r *http.Request) {
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

// retry calls f until it succeeds, and returns its last error once limit has passed. Each call has five seconds.
func retry(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	began := time.Now()
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := f(attempt)
		cancel()
		if err == nil || time.Since(began) >= limit {
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

// first returns a page that shows what api gets for the query's path, over a connection of its own, with the authority and the token that
// the process found when it started.
func first() http.HandlerFunc {
	request, err := apiClient()
	return func(w http.ResponseWriter, r *http.Request) {
		var answer strings.Builder
		err := err
		if err == nil {
			err = request(r.Context(), &answer, r.URL.Query().Get("path"))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, answer.String())
	}
}

// api requests a path of the API server under its name in the cluster, and verifies its certificate.
func api(ctx context.Context, out io.Writer, path string) error {
	request, err := apiClient()
	if err != nil {
		return err
	}
	return request(ctx, out, path)
}

// apiClient reads the authority and the token of the pod's ServiceAccount, and returns what asks the API server with them.
func apiClient() (func(ctx context.Context, out io.Writer, path string) error, error) {
	const account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	return func(ctx context.Context, out io.Writer, path string) error {
		return get(ctx, out, client, "https://kubernetes.default"+path, string(token))
	}, nil
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
