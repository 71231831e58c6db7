//go:build linux

package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// runc calls the payload's runc for one cluster. Containers are named after their nodes.
type runc struct {
	path string
	root string
}

func (r record) runc(s scope) runc { return runc{r.Spec.Payload.Runc, s.runc()} }

func (r runc) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, r.path, append([]string{"--root", r.root}, args...)...)
}

// run calls runc and returns what it prints; its complaint is the error.
func (r runc) run(ctx context.Context, args ...string) ([]byte, error) {
	var out, complaint bytes.Buffer
	cmd := r.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if text := strings.TrimSpace(complaint.String()); text != "" {
			err = errors.New(text)
		}
		return nil, fmt.Errorf("runc %s: %w", args[0], err)
	}
	return out.Bytes(), nil
}

// forget kills what is left of a container and removes its state and cgroup; nil if there is none.
func (r runc) forget(ctx context.Context, name string) error {
	if _, err := os.Stat(r.root + "/" + name); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	_, err := r.run(ctx, "delete", "--force", name)
	return err
}
