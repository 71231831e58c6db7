package holder

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRun holds clusters that a shell script plays. Package kltest tests how owners end.
func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name, up, down string
		args           int // how many of them
		code           int
		says, calls    string
		out            string
	}{
		{name: "up and down", args: 3, calls: "up\ndown --name x\n", out: Ready},
		{name: "up fails", args: 3, up: "echo no space; exit 4", code: 1, says: "no space", calls: "up\n"},
		{name: "down fails", args: 3, down: "echo busy >&2; exit 5", code: 1, says: "busy", calls: "up\ndown --name x\n", out: Ready},
		{name: "too few arguments", args: 2, code: 2, says: "usage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			temp := t.TempDir()
			program, calls, dir := filepath.Join(temp, "kl"), filepath.Join(temp, "calls"), filepath.Join(temp, "dir")
			script := "#!/bin/sh\necho \"$@\" >>" + calls + "\ncase $1 in up) :; " + tt.up + ";; down) :; " + tt.down + ";; esac\n"
			if err := errors.Join(os.WriteFile(program, []byte(script), 0o700), os.Mkdir(dir, 0o700)); err != nil {
				t.Fatal(err)
			}
			in, owner := io.Pipe()
			out := ownerOutput{owner: owner}
			var says bytes.Buffer
			code := Run(program, []string{dir, "x", "up"}[:tt.args], in, &out, &says)
			if code != tt.code || !strings.Contains(says.String(), tt.says) || out.text != tt.out {
				t.Errorf("exit code %d, output %q, error output %q", code, out.text, says.String())
			}
			data, err := os.ReadFile(calls)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if string(data) != tt.calls {
				t.Errorf("calls are %q, want %q", data, tt.calls)
			}
			if _, err := os.Stat(dir); (err == nil) != (tt.args < 3) {
				t.Errorf("the directory: %v", err)
			}
		})
	}
}

// ownerOutput is where an owner reads that its cluster is up, and ends then.
type ownerOutput struct {
	owner io.Closer
	text  string
}

func (o *ownerOutput) Write(p []byte) (int, error) {
	o.text += string(p)
	return len(p), o.owner.Close()
}
