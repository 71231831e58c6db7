package observe

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// auditDir is a directory with an audit log, which the API server's own steps change.
type auditDir struct {
	t    *testing.T
	path string
	at   time.Time // of the next rotation
}

func newAuditDir(t *testing.T) *auditDir {
	return &auditDir{t: t, path: filepath.Join(t.TempDir(), "a[u]dit.log"), at: time.Now().Add(time.Second)}
}

func (d *auditDir) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *auditDir) append(text string) {
	d.t.Helper()
	f, err := os.OpenFile(d.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	d.must(err)
	_, err = f.WriteString(text)
	d.must(errors.Join(err, f.Close()))
}

// rotate renames the log as the API server does, and returns its new name.
func (d *auditDir) rotate() string {
	d.t.Helper()
	name := (&auditReader{path: d.path}).rotatedName(d.at)
	d.at = d.at.Add(time.Second)
	d.must(os.Rename(d.path, name))
	return name
}

func (d *auditDir) compress(name string) {
	d.t.Helper()
	data, err := os.ReadFile(name)
	d.must(err)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(data)
	d.must(errors.Join(err, w.Close(), os.WriteFile(name+".gz", packed.Bytes(), 0o600), os.Remove(name)))
}

func (d *auditDir) expect(r *auditReader, want ...string) {
	d.t.Helper()
	var got []string
	for {
		line, err := r.next()
		d.must(err)
		if line == nil {
			break
		}
		got = append(got, string(line))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		d.t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestAuditReader(t *testing.T) {
	t.Run("rotated files come first, in order", func(t *testing.T) {
		d := newAuditDir(t)
		for _, text := range []string{"one\n", "two\n", "three\ncut off"} {
			d.append(text)
			name := d.rotate()
			if text == "two\n" {
				d.compress(name)
			}
		}
		d.append("four\n")
		d.must(os.WriteFile(filepath.Join(filepath.Dir(d.path), "a[u]dit-notes.log"), []byte("not the API server's\n"), 0o600))
		r := &auditReader{path: d.path}
		defer r.close()
		d.expect(r, "one", "two", "three", "cut off", "four")
	})
	t.Run("what is written before a rotation is read after it", func(t *testing.T) {
		d := newAuditDir(t)
		r := &auditReader{path: d.path}
		defer r.close()
		d.expect(r)
		d.append("one\ntw")
		d.expect(r, "one")
		d.append("o\nthree\n")
		d.rotate()
		d.expect(r, "two", "three")
		d.append("four\n")
		d.rotate()
		d.append("five\n")
		d.rotate()
		d.append("six\n")
		d.expect(r, "four", "five", "six")
	})
	t.Run("a file that is compressed or removed meanwhile is read to its end and not again", func(t *testing.T) {
		for name, gone := range map[string]func(*auditDir, string){
			"compressed": (*auditDir).compress, "removed": func(d *auditDir, name string) { d.must(os.Remove(name)) },
		} {
			d := newAuditDir(t)
			r := &auditReader{path: d.path}
			d.append("one\n")
			d.expect(r, "one")
			d.append("two\n")
			gone(d, d.rotate())
			d.append("three\n")
			d.rotate()
			d.append("four\n")
			d.expect(r, "two", "three", "four")
			r.close()
			if t.Failed() {
				t.Fatal(name)
			}
		}
	})
	t.Run("a file that is emptied begins again", func(t *testing.T) {
		d := newAuditDir(t)
		r := &auditReader{path: d.path}
		defer r.close()
		d.append("one\nhalf")
		d.expect(r, "one")
		d.must(os.Truncate(d.path, 0))
		d.append("two\n")
		d.expect(r, "two")
	})
	t.Run("damage does not end it", func(t *testing.T) {
		d := newAuditDir(t)
		d.append("packed\n")
		name := d.rotate()
		d.must(os.WriteFile(name+".gz", []byte("not gzip"), 0o600))
		d.must(os.Remove(name))
		d.append(strings.Repeat("x", maxAuditLine+100) + "\n\x00\n\nlast\n")
		r := &auditReader{path: d.path}
		defer r.close()
		d.expect(r, strings.Repeat("x", maxAuditLine), "\x00", "", "last")
	})
}

func TestReadAudit(t *testing.T) {
	d := newAuditDir(t)
	d.append("one\n")
	d.rotate()
	d.append("two\nhalf")
	var got []string
	d.must(ReadAudit(t.Context(), d.path, false, func(line []byte) error { got = append(got, string(line)); return nil }))
	if diff := cmp.Diff([]string{"one", "two", "half"}, got); diff != "" {
		t.Error(diff)
	}
	stop := errors.New("nobody reads")
	if err := ReadAudit(t.Context(), d.path, true, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("emit's error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	err := ReadAudit(ctx, d.path, true, func([]byte) error {
		if seen++; seen == 2 { // within the reading of what is there
			d.append(" and more\n")
		}
		if seen == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || seen != 3 {
		t.Errorf("following ended with %v after %d lines", err, seen)
	}
}

func TestTailAudit(t *testing.T) {
	d := newAuditDir(t)
	event := func(user, stage string) string {
		return fmt.Sprintf(auditBegin+`v1","stage":%q,"verb":"get","requestURI":"/","user":{"username":%q},"responseStatus":{"code":200}}`+"\n", stage, user)
	}
	d.append(event("before", "ResponseComplete"))
	d.rotate()
	d.append(strings.Repeat(event("old", "ResponseComplete"), 10000))
	d.append(event("ann", "RequestReceived") + event("cut", "ResponseComplete")[:60] + event("bob", "ResponseComplete"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var users []string
	err := TailAudit(ctx, d.path, func(batch []AuditEntry) {
		for _, e := range batch {
			users = append(users, e.User)
		}
		if len(users) > 0 && users[len(users)-1] == "cy" {
			cancel()
			return
		}
		d.append(event("cy", "Panic"))
		d.rotate()
	})
	if n := len(users); !errors.Is(err, context.Canceled) || n < 100 || n > 9000 || users[n-2] != "bob" || users[n-1] != "cy" {
		t.Errorf("%v, %d entries, the last are %v", err, n, users[max(0, n-3):])
	}
}
