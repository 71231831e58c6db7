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

// runc runs the payload's runc for one cluster. Containers have the names of their nodes.
type runc struct {
	path string
	root string
}

func (r record) runc(s scope) runc { return runc{r.Spec.Payload.Runc, s.runc()} }

func (r runc) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, r.path, append([]string{"--root", r.root}, args...)...)
}

// run runs runc. What runc writes to stderr becomes the error.
func (r runc) run(ctx context.Context, args ...string) error {
	var stderr bytes.Buffer
	cmd := r.command(ctx, args...)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if text := strings.TrimSpace(stderr.String()); text != "" {
			err = errors.New(text)
		}
		return fmt.Errorf("runc %s: %w", args[0], err)
	}
	return nil
}

// remove kills what is left of a container and removes its state and cgroup. It returns nil if there is no container.
func (r runc) remove(ctx context.Context, name string) error {
	if _, err := os.Stat(r.root + "/" + name); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return r.run(ctx, "delete", "--force", name)
}
