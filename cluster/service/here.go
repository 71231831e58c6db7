package service

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Here returns the systemd of the user who runs this process: the system's for root, else the user's own. environ is the
// environment that kl was started with.
func Here(program string, environ []string) (Manager, error) {
	who, err := user.Current()
	if err != nil {
		return Manager{}, fmt.Errorf("find the current user: %w", err)
	}
	m := Manager{Program: program, Environ: kept(environ), Root: "/"}
	if runtime.GOOS == "linux" {
		m.Systemctl = systemctl()
	}
	if who.Uid == "0" {
		m.UnitDir, m.Target = "/etc/systemd/system", "multi-user.target"
		return m, nil
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return Manager{}, fmt.Errorf("find the directory of user units: %w", err)
	}
	m.UnitDir, m.Target, m.User = filepath.Join(config, "systemd", "user"), "default.target", who.Username
	return m, nil
}

// kept returns the variables that kl start depends on beside KL_HOME: which engine, which kubeconfig, which certificate authorities.
func kept(environ []string) []string {
	var keep []string
	for _, e := range environ {
		key, value, _ := strings.Cut(e, "=")
		if value != "" && slices.Contains([]string{"HOME", "KUBECONFIG", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CERT_PATH",
			"DOCKER_TLS_VERIFY", "DOCKER_CONFIG", "SSL_CERT_FILE"}, key) {
			keep = append(keep, e)
		}
	}
	slices.Sort(keep)
	return keep
}

// systemctl returns nil on systems without that program.
func systemctl() func(context.Context, ...string) error {
	path, err := exec.LookPath("systemctl")
	if err != nil {
		return nil
	}
	return func(ctx context.Context, args ...string) error {
		out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
		if text := strings.TrimSpace(string(out)); err != nil && text != "" {
			return fmt.Errorf("systemctl: %w: %s", err, text)
		}
		return err
	}
}
