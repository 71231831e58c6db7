package boot

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestChildren starts real programs. It must not run in parallel to other tests with children, because it waits for any child.
func TestChildren(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	children := NewChildren(ctx)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	pid, err := children.Start(Program{
		Path: "/bin/sh", Args: []string{"-c", `echo "$GREETING"; echo from stderr >&2; exit 7`},
		Env: []string{"GREETING=hello"}, Output: write,
	})
	if err != nil {
		t.Fatal(err)
	}
	write.Close()
	var lines []string
	for scanner := bufio.NewScanner(read); scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	if got := strings.Join(lines, "|"); got != "hello|from stderr" {
		t.Errorf("output = %q", got)
	}
	select {
	case exit := <-children.Exits():
		if exit.PID != pid || exit.Status.ExitStatus() != 7 {
			t.Errorf("exit = %+v, want pid %d and code 7", exit, pid)
		}
	case <-ctx.Done():
		t.Fatal("the end of the child was not reported")
	}
	if _, err := children.Start(Program{Path: filepath.Join(t.TempDir(), "missing"), Output: os.Stderr}); err == nil {
		t.Error("no error for a program that does not exist")
	}
}
