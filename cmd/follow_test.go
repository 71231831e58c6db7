package cmd

import (
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
