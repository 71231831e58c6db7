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

// echoPort is where mesh sends datagrams back.
const echoPort = 7

// mesh listens on TCP ports and answers, on addr, whom this pod reaches: GET /probe?for=1s&to=10.244.0.7:80&to=… tells
// "10.244.0.7:80 yes" or "… no" of each target, all tried at once. What a policy denies gets no answer at all, hence the
// time limit. GET /until?reached=no&to=10.244.0.7 tells when that changed: see until.
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
	go sendBack(echo)
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

// dialAll dials a target again and again from the first moment of the process on, and tells how often it was reached.
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
			if reaches(ctx, to, limit) { // one that was begun late has its time, too
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

func sendBack(c net.PacketConn) {
	buf := make([]byte, 64)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], from)
	}
}

// until sends a datagram every millisecond to the echo of another pod, and answers with a time in nanoseconds: of the last
// answer before there was none for a while (?reached=no), or of the first one (?reached=yes).
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
			case err == nil: // others are of the network, and pass
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
			_, _ = conn.Write([]byte("hello")) // what is denied is lost without an error
		case <-r.Context().Done():
			return
		}
	}
	fmt.Fprintln(w, last.UnixNano())
}
