package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// With KL_TEST_MAIN set, the test binary is kl.
func TestMain(m *testing.M) {
	if os.Getenv("KL_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// A command without a dashboard sends no escape sequences to the terminal: see package quiet.
func TestVersionDoesNotQueryTheTerminal(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "version")
	cmd.Env = append(os.Environ(), "KL_TEST_MAIN=1", "KL_HOME="+t.TempDir(), "TERM=xterm-256color", "CI=")
	terminal, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	var out bytes.Buffer
	_, _ = io.Copy(&out, terminal) // ends with EIO when the other end is closed
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "\x1b") || !strings.Contains(text, "kubernetes") {
		t.Errorf("printed %q", text)
	}
}

func TestVersions(t *testing.T) {
	if v := versions(); v.KL == "" {
		t.Error("kl has no version")
	}
}
