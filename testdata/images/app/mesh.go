package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// mesh listens on TCP ports and answers, on addr, whom this pod reaches: GET /probe?for=1s&to=10.244.0.7:80&to=… tells
// "10.244.0.7:80 yes" or "… no" of each target, all tried at once. What a policy denies gets no answer at all, hence the
// time limit.
func mesh(ctx context.Context, addr, ports string) error {
	for port := range strings.SplitSeq(ports, ",") {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", ":"+port)
		if err != nil {
			return err
		}
		go greet(l)
	}
	return serve(ctx, addr, http.HandlerFunc(probe), func(s *http.Server, l net.Listener) error { return s.Serve(l) })
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
