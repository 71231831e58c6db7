package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A line that was acknowledged is there after a restart; one whose end is missing is not, and nothing is appended to it.
func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	for _, step := range []struct{ broken, post, want string }{
		{"", "one", "one\n"},
		{"tw", "three", "one\nthree\n"},
	} {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(step.broken); err != nil {
			t.Fatal(err)
		}
		f.Close()
		j, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(j)
		if code := post(t, server.URL, step.post); code != http.StatusNoContent {
			t.Errorf("post %q: status %d", step.post, code)
		}
		for _, bad := range []string{"", "a\nb", strings.Repeat("x", maxEntry+1)} {
			if code := post(t, server.URL, bad); code != http.StatusInternalServerError {
				t.Errorf("post %.10q: status %d", bad, code)
			}
		}
		var out bytes.Buffer
		if err := run(t.Context(), []string{"get", server.URL}, &out); err != nil || out.String() != step.want {
			t.Errorf("the journal is %q, %v; want %q", &out, err, step.want)
		}
		server.Close()
		j.file.Close()
	}
}

// A write that a full disk cuts short leaves a part of its line, which the next one must not continue.
func TestJournalAfterPartOfALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.file.Close()
	part := func() {
		if _, err := j.file.WriteString("63"); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{"one", "two"} {
		part()
		if err := j.append([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if lines, err := j.lines(); err != nil || string(lines) != "one\ntwo\n" {
		t.Errorf("the journal is %q, %v", lines, err)
	}
}

func post(t *testing.T, url, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
