package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
)

// File is one file of a bundle.
type File struct {
	Path  string // in the bundle, with slashes
	About string // what it is, in a few words
	Bytes int64
}

// Folder is where one part puts its files. It is safe for concurrent use. Once the part's time is over nothing can be added.
type Folder struct {
	root    *os.Root
	known   known
	written *atomic.Int64 // bytes of all parts

	mu      sync.Mutex
	closed  bool
	files   []*openFile
	missing []string
}

// errOver is what a part gets that goes on after its time.
var errOver = errors.New("the time for this is over")

// openFile is a file that a part writes, or has written.
type openFile struct {
	File
	folder *Folder
	file   *os.File
	scrub  scrubber
	done   bool
}

// Create makes a file of a bundle. Names of directories and of the file must be made with [safe] if somebody else has chosen them. What is
// written to it is searched for what is private. The caller closes it.
func (f *Folder) Create(name, about string) (io.WriteCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errOver
	}
	if err := f.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return nil, err
	}
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	o := &openFile{File: File{Path: name, About: about}, folder: f, file: file}
	o.scrub = scrubber{to: plainWriter{o}, known: f.known}
	f.files = append(f.files, o)
	return o, nil
}

// Write adds a whole file.
func (f *Folder) Write(name, about string, data []byte) error {
	w, err := f.Create(name, about)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return errors.Join(err, w.Close())
}

// Fill makes a file of what write writes, and none if that fails before it has written anything.
func (f *Folder) Fill(name, about string, write func(w io.Writer) error) error {
	w := &lazyFile{folder: f, name: name, about: about}
	err := write(w)
	return errors.Join(err, w.close())
}

// Miss notes something that could not be gathered, and why. A nil error does nothing.
func (f *Folder) Miss(what string, err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.missing = append(f.missing, what+": "+reason(err))
	}
}

// close ends the part: files that are still open end where they are. It returns all files.
func (f *Folder) close() (files []File, missing []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, o := range f.files {
		if !o.done {
			o.About += " (cut off)"
			if err := o.finish(); err != nil {
				f.missing = append(f.missing, o.Path+": "+reason(err))
			}
		}
		files = append(files, o.File)
	}
	return files, f.missing
}

func (o *openFile) Write(p []byte) (int, error) {
	o.folder.mu.Lock()
	defer o.folder.mu.Unlock()
	if o.done {
		return 0, errOver
	}
	return o.scrub.Write(p)
}

func (o *openFile) Close() error {
	o.folder.mu.Lock()
	defer o.folder.mu.Unlock()
	return o.finish()
}

func (o *openFile) finish() error {
	if o.done {
		return nil
	}
	o.done = true
	return errors.Join(o.scrub.Close(), o.file.Close())
}

// plainWriter writes to the file itself.
type plainWriter struct{ of *openFile }

func (w plainWriter) Write(p []byte) (int, error) {
	n, err := w.of.file.Write(p)
	w.of.Bytes += int64(n)
	w.of.folder.written.Add(int64(n))
	return n, err
}

// lazyFile is made when something is written to it.
type lazyFile struct {
	folder      *Folder
	name, about string
	file        io.WriteCloser
}

func (l *lazyFile) Write(p []byte) (int, error) {
	if l.file == nil {
		file, err := l.folder.Create(l.name, l.about)
		if err != nil {
			return 0, err
		}
		l.file = file
	}
	return l.file.Write(p)
}

func (l *lazyFile) close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// safe is a name of a file for what somebody else has named.
func safe(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) || r == 0x7f {
			return '_'
		}
		return r
	}, name)
	if strings.Trim(clean, ".") == "" {
		return "_" + clean
	}
	return clean
}

// reason is an error in one line.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return oneLine(err.Error())
}

// tailWriter keeps the last bytes of what is written to it.
type tailWriter struct {
	max     int
	data    []byte
	dropped int64
}

func (t *tailWriter) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - t.max; over > t.max { // seldom, so that each byte is moved once at most
		t.drop(over)
	}
	return len(p), nil
}

func (t *tailWriter) drop(n int) {
	t.dropped += int64(n)
	t.data = t.data[:copy(t.data, t.data[n:])]
}

// rest returns what was kept, from the beginning of a line, after a line that says how much was dropped.
func (t *tailWriter) rest() []byte {
	if over := len(t.data) - t.max; over > 0 {
		t.drop(over)
	}
	if t.dropped == 0 {
		return t.data
	}
	if i := bytes.IndexByte(t.data, '\n'); i >= 0 {
		t.drop(i + 1)
	}
	return append(fmt.Appendf(nil, "(the first %d bytes are left out)\n", t.dropped), t.data...)
}
