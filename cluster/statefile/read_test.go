package statefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster/statefile"
)

// readers are all functions that open what exists.
func readers() map[string]func(path string) error {
	closed := func(f *os.File, err error) error {
		if err == nil {
			f.Close()
		}
		return err
	}
	return map[string]func(path string) error{
		"Read":     func(path string) error { _, err := statefile.Read(path); return err },
		"ReadJSON": func(path string) error { return statefile.ReadJSON(path, new(any)) },
		"Open":     func(path string) error { return closed(statefile.Open(path)) },
		"OpenLog":  func(path string) error { return closed(statefile.OpenLog(path, 0o600)) },
		"TryLock":  func(path string) error { _, err := statefile.TryLock(path); return err },
	}
}

// TestReadersRefuse checks that a pipe is not waited for, a device not opened and a directory not read: the error names the path.
func TestReadersRefuse(t *testing.T) {
	for what, make := range map[string]func(path string) error{
		"named pipe":       func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory":        func(path string) error { return os.Mkdir(path, 0o700) },
		"character device": mknodNull,
	} {
		for name, read := range readers() {
			path := filepath.Join(t.TempDir(), "state")
			if err := make(path); errors.Is(err, syscall.EPERM) {
				t.Logf("SKIPPED: only root makes a %s", what)
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			inTime(t, name+" of a "+what, func() {
				err := read(path)
				if want := path + ": is a " + what + ", not a regular file"; !errors.Is(err, statefile.ErrNotRegular) || !strings.HasSuffix(err.Error(), want) {
					t.Errorf("%s of a %s: %v, want %s", name, what, err, want)
				}
			})
		}
	}
}

func TestLookingAtALockThatIsAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	must(t, syscall.Mkfifo(path, 0o600))
	inTime(t, "Locked", func() {
		if _, err := statefile.Locked(path); !errors.Is(err, statefile.ErrNotRegular) {
			t.Errorf("error is %v", err)
		}
	})
	inTime(t, "TryLockDir", func() {
		if _, err := statefile.TryLockDir(path); err == nil || !strings.Contains(err.Error(), "is a named pipe, not a directory") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestReadIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Truncate(path, statefile.MaxSize))
	if data, err := statefile.Read(path); err != nil || len(data) != statefile.MaxSize {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	must(t, os.Truncate(path, statefile.MaxSize+1))
	if _, err := statefile.Read(path); err == nil || err.Error() != "read "+path+": is larger than 16 MB" {
		t.Errorf("error is %v", err)
	}
	if _, err := statefile.Read(path + ".gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestOpenLogAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for range 2 {
		f, err := statefile.OpenLog(path, 0o640)
		must(t, err)
		_, err = f.WriteString("line\n")
		must(t, errors.Join(err, f.Close()))
	}
	if data, err := statefile.Read(path); err != nil || string(data) != "line\nline\n" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestPlain(t *testing.T) {
	var into struct {
		Ports []int             `json:"ports"`
		Names map[string]string `json:"names"`
	}
	for text, want := range map[string]string{
		"":                     "is empty",
		" \n":                  "is empty",
		"{":                    "ends in the middle of a value",
		`{"ports":`:            "ends in the middle of a value",
		"\x00":                 "is not JSON: invalid character '\\x00' looking for beginning of value, at byte 1",
		`{} x`:                 "is not JSON: invalid character 'x' after top-level value, at byte 4",
		`7`:                    "is of the wrong type: number",
		`{"ports":"80"}`:       "ports is of the wrong type: string",
		`{"ports":[1,{}]}`:     "ports is of the wrong type: object",
		`{"names":{"a":true}}`: "names is of the wrong type: bool",
	} {
		if err := statefile.DecodeJSON([]byte(text), &into); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"ports: [":                              "line 1: did not find expected node content",
		"odd: 1":                                `unknown field "odd"`,
		"ports: []\nports: []":                  `line 2: key "ports" already set in map`,
		"ports: {}":                             "ports is of the wrong type: object",
		strings.Repeat("x", 900) + ": 1":        `unknown field "` + strings.Repeat("x", 185) + "…",
		"names: {a: 1, a: 2}\nports: [1]\nb: 1": `line 1: key "a" already set in map`,
	} {
		err := statefile.Plain(yaml.UnmarshalStrict([]byte(text), &into))
		if err == nil || err.Error() != want {
			t.Errorf("%.80q: %v, want %s", text, err, want)
		}
	}
	if other := errors.New("other"); statefile.Plain(other) != other || statefile.Plain(nil) != nil { //nolint:errorlint // the same one
		t.Error("another error is changed")
	}
}

// inTime fails the test if f does not return soon.
func inTime(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

// A text is cut between characters, at no more than so many bytes, and never grows.
func TestShorten(t *testing.T) {
	for _, c := range []struct {
		text string
		size int
		want string
	}{
		{"", 0, ""}, {"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {"abcd", 0, "…"},
		{"zażółć", 4, "zaż…"}, {"zażółć", 3, "za…"}, {"日本語", 8, "日本…"}, {"日本語", 9, "日本語"},
		{"😀😀", 7, "😀…"}, {"😀", 2, "…"},
		{"\x80\x80\x80\x80\x80\x80\x80", 6, "\x80\x80\x80\x80\x80\x80…"},
	} {
		if got := statefile.Shorten(c.text, c.size); got != c.want {
			t.Errorf("Shorten(%q, %d) = %q, want %q", c.text, c.size, got, c.want)
		}
	}
}
