package cmd

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFollowLog checks that following a log prints what is appended, and goes on with the new file after the log was
// truncated or replaced.
func TestFollowLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcd.log")
	write := func(flag int, text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(0, "one\ntwo\nthree\n")
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- printLog(ctx, w, path, logFlags{follow: true, tail: 1}) }()
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("printed %q, error %v, want %q", got, err, want)
		}
	}
	expect("three\n")
	write(os.O_APPEND, "four\n")
	expect("four\n")
	write(os.O_TRUNC, "truncated\n")
	expect("truncated\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * followInterval) // for a while there is no file
	write(os.O_EXCL, "a replacement that is longer than the old file\n")
	expect("a replacement that is longer than the old file\n")
	write(os.O_APPEND, "more\n")
	expect("more\n")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("after the end of the context: %v", err)
	}
}

// TestFollowLogStopsAtWriteErrors checks that following ends when nobody reads the output any more.
func TestFollowLogStopsAtWriteErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcd.log")
	if err := os.WriteFile(path, []byte("line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	r.Close()
	if err := printLog(t.Context(), w, path, logFlags{follow: true, tail: -1}); err == nil {
		t.Error("no error")
	}
}

// A node that puts links in the place of its logs does not have another file of the machine shown.
func TestLogOfANodeIsNoLink(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "elsewhere", "node.log")
	logs := filepath.Join(dir, "nodes", "n1", "logs")
	for _, d := range []string{filepath.Dir(secret), logs, filepath.Join(dir, "nodes", "n2")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		filepath.Join(logs, "node.log"):           secret,
		filepath.Join(logs, "containerd.log"):     "../../../elsewhere/node.log",
		filepath.Join(dir, "nodes", "n2", "logs"): filepath.Dir(secret),
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{
		filepath.Join(logs, "node.log"), filepath.Join(logs, "containerd.log"), filepath.Join(dir, "nodes", "n2", "logs", "node.log"),
	} {
		var out bytes.Buffer
		if err := printLog(t.Context(), &out, path, logFlags{tail: -1}); err == nil || out.Len() > 0 {
			t.Errorf("%s: printed %q, error %v", path, &out, err)
		}
	}
}
