package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWget runs the wget of a node with a busybox that prints its arguments.
func TestWget(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "wget")
	if err := os.WriteFile(script, wget, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "busybox"), []byte("#!/bin/sh\nprintf '<%s>' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string // empty if it is refused
	}{
		{[]string{"-qO-", "http://a/"}, "<wget><-qO-><http://a/>"},
		{[]string{"-O", "with space", "--header", "X: y", "--", "-T"}, "<wget><-O><with space><--header><X: y><--><-T>"},
		{[]string{"-qO-Tmp", "http://T/"}, "<wget><-qO-Tmp><http://T/>"},
		{[]string{"-T", "3", "http://a/"}, ""},
		{[]string{"-T3", "http://a/"}, ""},
		{[]string{"-qT", "3", "http://a/"}, ""},
		{[]string{"-q", "-O-", "http://a/", "-T3"}, ""},
	} {
		cmd := exec.CommandContext(t.Context(), script, tt.args...)
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
		var out, refusal bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &refusal
		err := cmd.Run()
		switch {
		case tt.want != "" && (err != nil || out.String() != tt.want):
			t.Errorf("wget %q: %v, %s, want %s", tt.args, err, out.String(), tt.want)
		case tt.want == "" && (cmd.ProcessState.ExitCode() != 2 || out.Len() > 0 || strings.Count(refusal.String(), "\n") != 1):
			t.Errorf("wget %q: %v, %q, want one line that refuses -T", tt.args, err, refusal.String())
		}
	}
}
