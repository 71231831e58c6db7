package main

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// load is what a server does on demand, to be measured.
type load struct {
	mu     sync.Mutex
	stop   chan struct{} // of the burning that goes on; nil: none
	memory []byte
}

// burn keeps one processor busy for the time named by ?for=, a duration such as 30s, or until the next call: 0s ends it.
func (l *load) burn(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.FormValue("for"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		close(l.stop)
	}
	l.stop = make(chan struct{})
	go spin(d, l.stop)
	fmt.Fprintln(w, "burning for", d)
}

func spin(d time.Duration, stop <-chan struct{}) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		select {
		case <-stop:
			return
		default:
		}
	}
}

// hold keeps as much memory as ?bytes= says, every page of it touched.
func (l *load) hold(w http.ResponseWriter, r *http.Request) {
	var n int
	if _, err := fmt.Sscan(r.FormValue("bytes"), &n); err != nil || n < 0 || n > 1<<30 {
		http.Error(w, "want ?bytes= from 0 to 1073741824", http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memory = make([]byte, n)
	const page = 4096
	for i := 0; i < n; i += page {
		l.memory[i] = 1
	}
	fmt.Fprintln(w, "holding", n)
}
