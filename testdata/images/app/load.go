package main

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// load is the processor time and memory that a server uses on request.
type load struct {
	mu     sync.Mutex
	stop   chan struct{} // ends the running spin; nil: none was started
	memory []byte
}

// burn keeps one processor busy for the duration in ?for=, such as 30s, or until the next call; 0s only ends the last one.
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

// hold allocates the number of bytes in ?bytes= and writes to every page. The next call frees them.
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
