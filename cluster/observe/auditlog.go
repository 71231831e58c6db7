package observe

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster/statefile"
)

const (
	auditInterval = 250 * time.Millisecond    // a poll, because inotify does not work on every file system
	auditStamp    = "2006-01-02T15-04-05.000" // in the names of rotated files, UTC

	// maxAuditLine bounds a line, in bytes. The API server's largest objects have 1.5 MB, and an event holds two of them.
	maxAuditLine = 16 << 20
)

// ReadAudit passes each line of an audit log to emit, oldest first, those of rotated files included. With follow it waits for
// new lines until ctx is done, and then returns its error. An error of emit ends it. emit must not keep the line.
func ReadAudit(ctx context.Context, path string, follow bool, emit func(line []byte) error) error {
	r := &auditReader{path: path}
	defer r.close()
	pass := func(ctx context.Context) error {
		for ctx.Err() == nil {
			line, err := r.next()
			if err != nil || line == nil {
				return err
			}
			if err := emit(line); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	if follow {
		return wait.PollUntilContextCancel(ctx, auditInterval, true, func(ctx context.Context) (bool, error) { return false, pass(ctx) })
	}
	if err := pass(ctx); err != nil {
		return err
	}
	if rest := r.take(); rest != nil { // cut off when the machine died, or not finished yet
		return emit(rest)
	}
	return nil
}

// TailAudit passes the finished requests of an audit log to emit in batches: the last few hundred first, and then new ones as
// they are written, until ctx is done. It follows rotations, and waits for a file that does not exist yet.
func TailAudit(ctx context.Context, path string, emit func([]AuditEntry)) error {
	const tail = 512 << 10
	r := &auditReader{path: path}
	defer r.close()
	if err := r.seekTail(tail); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return readingAudit(err)
	}
	return wait.PollUntilContextCancel(ctx, auditInterval, true, func(context.Context) (bool, error) {
		var batch []AuditEntry
		for {
			line, err := r.next()
			if err != nil {
				return false, err
			}
			if line == nil {
				break
			}
			if e, ok := ParseAudit(string(line)); ok && e.Finished() {
				batch = append(batch, e)
			}
		}
		if len(batch) > 0 {
			emit(batch)
		}
		return false, nil
	})
}

// auditReader reads an audit log line by line, oldest first. The API server renames a file that is full to one with the time
// in its name, and may compress it; the reader begins with these files, and misses nothing when a file is renamed meanwhile.
type auditReader struct {
	path   string
	file   *os.File // nil before the first
	name   string   // what file was called last: path, or what it was renamed to
	r      *bufio.Reader
	atPath time.Time // when file was last seen to be at path
	line   []byte    // the beginning of a line that is not complete yet
}

func (r *auditReader) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// next returns the next complete line without its end, and nil if there is none now; it may be called again later. The line
// is valid until the next call. What a line has beyond maxAuditLine is dropped.
func (r *auditReader) next() ([]byte, error) {
	for {
		if line, err := r.read(); line != nil || err != nil {
			return line, err
		}
		file := r.file
		if more, err := r.advance(); err != nil || !more {
			return nil, err
		}
		if r.file != file && r.line != nil { // a line does not go on in the next file
			return r.take(), nil
		}
	}
}

func (r *auditReader) take() []byte {
	line := r.line
	r.line = nil
	return line
}

// read returns the next complete line of the file, or nil at its end.
func (r *auditReader) read() ([]byte, error) {
	for r.file != nil {
		part, err := r.r.ReadSlice('\n')
		r.line = append(r.line, part[:min(len(part), maxAuditLine-len(r.line))]...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(r.take(), []byte("\n")), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case strings.HasSuffix(r.name, ".gz"): // its end, or damage, which does not end the log
			return nil, nil
		case errors.Is(err, io.EOF):
			if restarted, err := r.restart(); err != nil || !restarted {
				return nil, readingAudit(err)
			}
		default:
			return nil, readingAudit(err)
		}
	}
	return nil, nil
}

// restart goes back to the beginning of a file if it was emptied.
func (r *auditReader) restart() (bool, error) {
	info, err := r.file.Stat()
	if err != nil {
		return false, err
	}
	at, err := r.file.Seek(0, io.SeekCurrent)
	if err != nil || info.Size() >= at {
		return false, err
	}
	r.line = nil
	_, err = r.file.Seek(0, io.SeekStart)
	return true, err
}

// seekTail begins at the first line of the last bytes of the file at path.
func (r *auditReader) seekTail(bytes int64) error {
	f, err := statefile.Open(r.path)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	r.open(f, r.path)
	if info.Size() <= bytes {
		return nil
	}
	if _, err := f.Seek(-bytes, io.SeekEnd); err != nil {
		return err
	}
	_, err = r.read() // the rest of a line
	return err
}

// advance goes on to the file after the one that was read to its end. It reports whether there is more to read.
func (r *auditReader) advance() (bool, error) {
	for {
		rotated, err := r.rotated()
		if err != nil {
			return false, err
		}
		if r.file != nil && r.name == r.path {
			if sameFile(r.file, r.path) {
				r.atPath = time.Now()
				return false, nil
			}
			r.name = r.renamed(rotated)
			return true, nil // what was written before it was renamed
		}
		next := r.path
		if i := slices.IndexFunc(rotated, func(name string) bool { return r.file == nil || r.stamp(name) > r.stamp(r.name) }); i >= 0 {
			next = rotated[i]
		}
		f, err := statefile.Open(next)
		again, listErr := r.rotated()
		switch {
		case listErr != nil:
			err = listErr
		case !slices.Equal(rotated, again): // what was at path may have another name by now, and come first
			if err == nil {
				f.Close()
			}
			continue
		case errors.Is(err, fs.ErrNotExist): // between the two steps of a rotation, or no log yet
			return false, nil
		}
		if err != nil {
			return false, readingAudit(err)
		}
		r.open(f, next)
		return true, nil
	}
}

func (r *auditReader) open(f *os.File, name string) {
	r.close()
	r.file, r.name, r.atPath = f, name, time.Now()
	var in io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		in = strings.NewReader("") // nothing can be read of one that is damaged
		if unzip, err := gzip.NewReader(f); err == nil {
			in = unzip
		}
	}
	r.r = bufio.NewReaderSize(in, 64<<10)
}

// renamed returns what the file that was at path is called now. One that has been compressed or removed meanwhile is placed by
// the time when it was at path.
func (r *auditReader) renamed(rotated []string) string {
	for _, name := range rotated {
		if sameFile(r.file, name) {
			return name
		}
	}
	seen := r.rotatedName(r.atPath)
	for _, name := range rotated {
		if strings.HasSuffix(name, ".gz") && r.stamp(name) >= r.stamp(seen) {
			return name
		}
	}
	return seen
}

// rotatedName is what the API server calls a file that it renames.
func (r *auditReader) rotatedName(at time.Time) string {
	ext := filepath.Ext(r.path)
	return strings.TrimSuffix(r.path, ext) + "-" + at.UTC().Format(auditStamp) + ext
}

// stamp is the time in the name of a rotated file, which sorts by time; empty if the file is none.
func (r *auditReader) stamp(name string) string {
	ext := filepath.Ext(r.path)
	stamp, ok := strings.CutPrefix(filepath.Base(name), strings.TrimSuffix(filepath.Base(r.path), ext)+"-")
	stamp, rotated := strings.CutSuffix(strings.TrimSuffix(stamp, ".gz"), ext)
	if _, err := time.Parse(auditStamp, stamp); !ok || !rotated || err != nil {
		return ""
	}
	return stamp
}

// rotated returns the rotated files, oldest first; of one that is being compressed the original comes first.
func (r *auditReader) rotated() ([]string, error) {
	dir := filepath.Dir(r.path)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, readingAudit(err)
	}
	var names []string
	for _, e := range entries {
		if r.stamp(e.Name()) != "" {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(r.stamp(a), r.stamp(b)), cmp.Compare(a, b)) })
	return names, nil
}

func sameFile(f *os.File, path string) bool {
	open, err1 := f.Stat()
	there, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(open, there)
}

func readingAudit(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read audit log: %w", err)
}
