package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
)

// maxEntry is how long a line of a journal may be, in bytes.
const maxEntry = 1024

// journal is a file of lines that are on the disk before they are acknowledged.
type journal struct {
	mu   sync.Mutex
	file *os.File
	size int64 // of the lines that are whole; a full disk may leave a part of another one behind them
}

// openJournal opens or makes a journal. A last line without an end was never acknowledged and is cut off.
func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	j := &journal{file: f}
	lines, err := j.lines()
	if err == nil {
		j.size = int64(bytes.LastIndexByte(lines, '\n') + 1)
		err = f.Truncate(j.size)
	}
	if err == nil {
		err = errors.Join(f.Sync(), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// append returns nil once the disk has the line.
func (j *journal) append(line []byte) error {
	if len(line) == 0 || len(line) > maxEntry || bytes.ContainsRune(line, '\n') {
		return fmt.Errorf("want one line of 1 to %d bytes", maxEntry)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if info, err := j.file.Stat(); err != nil {
		return err
	} else if info.Size() != j.size { // the last line was not written to its end, and this one would continue it
		if err := j.file.Truncate(j.size); err != nil {
			return err
		}
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return err
	}
	j.size += int64(len(line)) + 1
	return j.file.Sync()
}

func (j *journal) lines() ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	info, err := j.file.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(j.file, 0, info.Size()))
}

// ServeHTTP appends what is posted, and returns all lines otherwise.
func (j *journal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		lines, err := j.lines()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(lines)
		return
	}
	line, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEntry+1))
	if err == nil {
		err = j.append(line)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func serveJournal(ctx context.Context, addr, path string) error {
	j, err := openJournal(path)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	defer j.file.Close()
	return serve(ctx, addr, j, func(s *http.Server, l net.Listener) error { return s.Serve(l) })
}
