// Package traffic has the programs of the tour that talk over the network: a server that says who it is and which peer it sees, a
// client that says why it got no answer, and a load generator that counts failures.
//
//	kl-engine tour serve --name server-0         # server-0 answers 10.244.1.5:41234, over HTTP, TCP and UDP
//	kl-engine tour get http://server:8080/
//	kl-engine tour get udp://server:8082 --count 20
//	kl-engine tour load http://server:8080/ --for 30s
package traffic

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/tour"
)

// drainTime is for how long a TCP connection waits for its client to close it, once it has its answer.
const drainTime = 10 * time.Second

// Serve answers over HTTP, TCP and UDP with the server's name and the address of the peer that it sees.
func Serve() tour.Program {
	s := &server{}
	return tour.Program{
		Name: "serve", Short: "answers over HTTP, TCP and UDP with who it is and the peer it sees", Run: s.run,
		Long: `Each answer is a line: "server-0 answers 10.244.1.5:41234". A TCP client gets it when it connects, a UDP client for
each datagram. Over HTTP there are more paths:
  /          the line
  /header    the request's header, X-Forwarded-For and the like
  /healthz   "ok", or status 503 before --ready-after has passed and after SIGTERM
  /version   what --name says
  /work      keeps a processor busy for the milliseconds of ?ms=N, then answers with the line`,
		Flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&s.http, "http", ":8080", `address of HTTP, "" for none`)
			fs.StringVar(&s.tcp, "tcp", ":8081", `address of TCP, "" for none`)
			fs.StringVar(&s.udp, "udp", ":8082", `address of UDP, "" for none`)
			fs.StringVar(&s.name, "name", "", "who answers; the host's name, which is the pod's, if empty")
			fs.DurationVar(&s.readyAfter, "ready-after", 0, "how long after the start /healthz begins to say ok")
			fs.DurationVar(&s.stopAfter, "stop-after", 0, "how long to go on answering after SIGTERM")
			fs.DurationVar(&s.limit, "for", 0, "end after this time; 0 goes on until SIGTERM")
		},
	}
}

type server struct {
	http, tcp, udp, name         string
	readyAfter, stopAfter, limit time.Duration

	log      *tour.Log
	readyAt  time.Time
	stopping atomic.Bool
}

func (s *server) run(ctx context.Context, _ []string, log *tour.Log) error {
	if s.readyAfter < 0 || s.stopAfter < 0 {
		return tour.Usagef("--ready-after is %s and --stop-after %s: want times that are not negative", s.readyAfter, s.stopAfter)
	}
	if s.name == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("read the host's name: %w", err)
		}
		s.name = name
	}
	s.log, s.readyAt = log, time.Now().Add(s.readyAfter)
	ctx, cancel, err := tour.Limit(ctx, s.limit)
	if err != nil {
		return err
	}
	defer cancel()
	serving, stop := s.lingering(ctx)
	defer stop()
	services, err := s.listen(ctx)
	if err != nil {
		return err
	}
	g, serving := errgroup.WithContext(serving)
	for _, service := range services {
		g.Go(func() error { return service(serving) })
	}
	return g.Wait()
}

// lingering returns a context that ends stopAfter later than ctx.
func (s *server) lingering(ctx context.Context) (context.Context, context.CancelFunc) {
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		s.stopping.Store(true)
		if s.stopAfter > 0 {
			s.log.Printf("%s stops in %s", s.name, s.stopAfter)
		}
		select {
		case <-time.After(s.stopAfter):
		case <-serving.Done():
		}
		cancel()
	})
	return serving, func() { stop(); cancel() }
}

// listen opens the addresses, says which, and returns what serves them.
func (s *server) listen(ctx context.Context) (services []func(context.Context) error, err error) {
	var where []string
	var open []interface{ Close() error }
	defer func() {
		if err != nil {
			for _, c := range open {
				_ = c.Close()
			}
		}
	}()
	for _, p := range []struct {
		name, addr string
		serve      func(context.Context, net.Listener) error
	}{{"http", s.http, s.serveHTTP}, {"tcp", s.tcp, s.serveTCP}} {
		if p.addr == "" {
			continue
		}
		l, err := tour.Listen(ctx, p.addr)
		if err != nil {
			return nil, err
		}
		open, where = append(open, l), append(where, p.name+" "+l.Addr().String())
		services = append(services, func(ctx context.Context) error { return p.serve(ctx, l) })
	}
	if s.udp != "" {
		var lc net.ListenConfig
		c, err := lc.ListenPacket(ctx, "udp", s.udp)
		if err != nil {
			return nil, tour.ListenError(s.udp, err)
		}
		open, where = append(open, c), append(where, "udp "+c.LocalAddr().String())
		services = append(services, func(ctx context.Context) error { return s.serveUDP(ctx, c) })
	}
	if len(services) == 0 {
		return nil, tour.Usagef("--http, --tcp and --udp are all empty: give one of them an address")
	}
	s.log.Printf("%s listens: %s", s.name, strings.Join(where, ", "))
	return services, nil
}

// answer logs a peer and returns what it is told.
func (s *server) answer(protocol, peer, asked string) string {
	s.log.Printf("%s %s %s", protocol, peer, asked)
	return s.name + " answers " + peer + "\n"
}

func (s *server) serveTCP(ctx context.Context, l net.Listener) error {
	failed := func(err error) { s.log.Printf("accept on %s: %v", l.Addr(), err) }
	err := cluster.Accept(ctx, l, failed, func(ctx context.Context, c net.Conn) {
		defer c.Close()
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		defer stop()
		_ = c.SetDeadline(time.Now().Add(drainTime))
		if _, err := c.Write([]byte(s.answer("tcp", c.RemoteAddr().String(), "connected"))); err != nil {
			s.log.Printf("tcp %s: %v", c.RemoteAddr(), err)
			return
		}
		// Closing while there is something to read would reset the connection, and the client might lose the answer.
		if t, ok := c.(*net.TCPConn); ok && t.CloseWrite() == nil {
			discard(t)
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve on %s: %w", l.Addr(), err)
}

// discard reads until the peer closes the connection.
func discard(c net.Conn) {
	for buf := make([]byte, 1024); ; {
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

func (s *server) serveUDP(ctx context.Context, c net.PacketConn) error {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	for buf := make([]byte, 2048); ; {
		_, peer, err := c.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from %s: %w", c.LocalAddr(), err)
		}
		if _, err := c.WriteTo([]byte(s.answer("udp", peer.String(), "sent a datagram")), peer); err != nil && ctx.Err() == nil {
			s.log.Printf("udp %s: %v", peer, err)
		}
	}
}
