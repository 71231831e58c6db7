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
	plan := []string{"down", "--name", "x", "--"}
	for _, tt := range []struct {
		name, up, down string
		args           []string // after the directory
		owner          string   // what it writes before it ends
		code           int
		says, calls    string
		out            string
		left           bool // the directory
	}{
		{name: "up and down", args: append(plan, "up", "now"), calls: "up now\ndown --name x\n", out: Ready},
		{name: "up fails", args: append(plan, "up"), up: "echo no space; exit 4", code: 1, says: "no space", calls: "up\n"},
		{name: "down fails", args: append(plan, "up"), down: "echo busy >&2; exit 5", code: 1, says: "busy", calls: "up\ndown --name x\n", out: Ready, left: true},
		{name: "the owner brings it up", args: plan, calls: "down --name x\n", out: Ready},
		{name: "the owner keeps it", args: plan, owner: keep, out: Ready, left: true},
		{name: "the owner is cut off", args: plan, owner: keep[:2], calls: "down --name x\n", out: Ready},
		{name: "no way down", args: []string{"--", "up"}, code: 2, says: "usage", left: true},
		{name: "too few arguments", code: 2, says: "usage", left: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			temp := t.TempDir()
			program, calls, dir := filepath.Join(temp, "kl"), filepath.Join(temp, "calls"), filepath.Join(temp, "dir")
			script := "#!/bin/sh\necho \"$@\" >>" + calls + "\ncase $1 in up) :; " + tt.up + ";; down) :; " + tt.down + ";; esac\n"
			if err := errors.Join(os.WriteFile(program, []byte(script), 0o700), os.Mkdir(dir, 0o700)); err != nil {
				t.Fatal(err)
			}
			in, owner := io.Pipe()
			out := ownerOutput{owner: owner, last: tt.owner}
			var says bytes.Buffer
			code := Run(program, append([]string{dir}, tt.args...), in, &out, &says)
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
			if _, err := os.Stat(dir); (err == nil) != tt.left {
				t.Errorf("the directory: %v", err)
			}
		})
	}
}

// ownerOutput is where an owner reads that its cluster is up. It writes a last word and ends then.
type ownerOutput struct {
	owner io.WriteCloser
	last  string
	text  string
}

func (o *ownerOutput) Write(p []byte) (int, error) {
	o.text += string(p)
	if _, err := io.WriteString(o.owner, o.last); err != nil {
		return 0, err
	}
	return len(p), o.owner.Close()
}
