package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// proxyVersions lists the versions of a module that the proxy has, retracted ones not.
func proxyVersions(ctx context.Context, module string) ([]string, error) {
	out, err := goCommand(ctx, "list", "-mod=mod", "-m", "-versions", "-json", module)
	if err != nil {
		return nil, err
	}
	var answer struct{ Versions []string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("read the versions of %s: %w", module, err)
	}
	return answer.Versions, nil
}

// proxyRequires returns the go.mod of a module's version.
func proxyRequires(ctx context.Context, module, version string) ([]byte, error) {
	out, err := goCommand(ctx, "list", "-mod=mod", "-m", "-json", module+"@"+version)
	if err != nil {
		return nil, err
	}
	var answer struct{ GoMod string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("read where the go.mod of %s is: %w", module, err)
	}
	return os.ReadFile(answer.GoMod)
}

func goCommand(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}
