package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// echoPort is the UDP port on which mesh returns datagrams to their sender.
const echoPort = 7

// mesh listens on TCP ports and answers on addr which targets this pod reaches: GET /probe?for=1s&to=10.244.0.7:80&to=…
// tries all targets at once and returns a line "10.244.0.7:80 yes" or "… no" for each. The time limit is needed because a
// connection that a policy denies gets no answer. GET /until?reached=no&to=10.244.0.7 waits for a change: see until.
func mesh(ctx context.Context, addr, ports string) error {
	for port := range strings.SplitSeq(ports, ",") {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", ":"+port)
		if err != nil {
			return err
		}
		go greet(l)
	}
	echo, err := new(net.ListenConfig).ListenPacket(ctx, "udp", fmt.Sprint(":", echoPort))
	if err != nil {
		return err
	}
	go echoDatagrams(echo)
	mux := http.NewServeMux()
	mux.HandleFunc("/probe", probe)
	mux.HandleFunc("/until", until)
	return serve(ctx, addr, mux, func(s *http.Server, l net.Listener) error { return s.Serve(l) })
}

// greet closes connections as soon as they are made.
func greet(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}

func probe(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	limit, err := time.ParseDuration(r.Form.Get("for"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	targets := r.Form["to"]
	words := make([]string, len(targets))
	var wg sync.WaitGroup
	for i, to := range targets {
		wg.Go(func() {
			words[i] = "no"
			if reaches(r.Context(), to, limit) {
				words[i] = "yes"
			}
		})
	}
	wg.Wait()
	for i, to := range targets {
		fmt.Fprintln(w, to, words[i])
	}
}

func reaches(ctx context.Context, to string, limit time.Duration) bool {
	dialer := net.Dialer{Timeout: limit}
	conn, err := dialer.DialContext(ctx, "tcp", to)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// dialAll dials a target every 20 ms for the time limit and prints how often that succeeded. The first attempt is made as
// soon as the process runs.
func dialAll(ctx context.Context, out io.Writer, to string, limit time.Duration) error {
	const interval = 20 * time.Millisecond
	var wg sync.WaitGroup
	var mu sync.Mutex
	tries, hits := 0, 0
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for end := time.Now().Add(limit); time.Now().Before(end); {
		tries++
		wg.Go(func() {
			if reaches(ctx, to, limit) { // a late attempt has the full limit, too
				mu.Lock()
				defer mu.Unlock()
				hits++
			}
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	wg.Wait()
	_, err := fmt.Fprintf(out, "tried %d times, reached %s %d times\n", tries, to, hits)
	return err
}

func echoDatagrams(c net.PacketConn) {
	buf := make([]byte, 64)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], from)
	}
}

// until sends a datagram every millisecond to another pod's echo port, and returns a time in Unix nanoseconds: that of the
// first echo (?reached=yes), or that of the last echo before 200 ms without any (?reached=no).
func until(w http.ResponseWriter, r *http.Request) {
	const interval, silence = time.Millisecond, 200 * time.Millisecond
	conn, err := new(net.Dialer).DialContext(r.Context(), "udp", net.JoinHostPort(r.FormValue("to"), fmt.Sprint(echoPort)))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer conn.Close()
	answers := make(chan time.Time, 1024)
	go func() {
		defer close(answers)
		buf := make([]byte, 64)
		for {
			_, err := conn.Read(buf)
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err == nil: // other errors are the network's, and temporary
				answers <- time.Now()
			}
		}
	}()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := time.Now()
	for time.Since(last) < silence || r.FormValue("reached") == "yes" {
		select {
		case last = <-answers:
			if r.FormValue("reached") == "yes" {
				fmt.Fprintln(w, last.UnixNano())
				return
			}
		case <-tick.C:
			_, _ = conn.Write([]byte("hello")) // a denied datagram is dropped without an error
		case <-r.Context().Done():
			return
		}
	}
	fmt.Fprintln(w, last.UnixNano())
}
