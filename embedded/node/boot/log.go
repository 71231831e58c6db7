package boot

import (
	"errors"
	"io"
	"os"
	"sync"
)

// Log is a file that keeps between max and twice max of the last bytes: when the file is full, it is renamed to path.1 and a
// new one is started. Write never returns an error: with a full disk, lines are lost and programs keep running.
type Log struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File // nil if it could not be opened
	size int64
}

// OpenLog opens the file for appending. max is in bytes.
func OpenLog(path string, max int64) (*Log, error) {
	l := &Log{path: path, max: max}
	return l, l.open()
}

func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write implements io.Writer. A single write is never split over two files.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(p)) > l.max {
		l.rotate()
	}
	if l.file == nil && l.open() != nil {
		return len(p), nil
	}
	n, _ := l.file.Write(p) // a full disk loses lines
	l.size += int64(n)
	return len(p), nil
}

func (l *Log) rotate() {
	if l.file != nil {
		_ = l.file.Close() // there is nowhere to report it
		l.file = nil
	}
	_ = os.Rename(l.path, l.path+".1") // if it fails, the log goes on in the same file
	l.size = 0
}

// Pipe returns the write end of a pipe that is copied into the log, for a child's output. done is closed when all output is
// written, which is after every process has closed the end; the caller has to close it too.
func (l *Log) Pipe() (end *os.File, done <-chan struct{}, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		defer r.Close()
		_, _ = io.CopyBuffer(onlyWriter{l}, onlyReader{r}, make([]byte, 16<<10))
	}()
	return w, finished, nil
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// onlyWriter and onlyReader hide ReadFrom and WriteTo, which would bypass the buffer and so the size of a write.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)
