// Package service has systemd start a cluster when the machine boots.
//
// A unit is enabled by the link that `systemctl enable` would make, so that it can be put down before systemd runs, as
// in an image that is being built. The unit file is the only memory of it.
package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// Manager writes units of one systemd: the system's, or a user's own.
type Manager struct {
	Program string   // absolute path of kl
	Environ []string // KEY=VALUE for kl, KL_HOME left out
	UnitDir string   // where units are written
	Target  string   // the unit that wants ours: multi-user.target, or default.target for a user
	User    string   // whose systemd; empty for the system's
	// Root is "/"; tests have another.
	Root string
	// Systemctl runs systemctl with arguments; nil means that there is none.
	Systemctl func(ctx context.Context, args ...string) error
}

// Set makes the cluster start at boot, or no longer. It returns where the unit is and what the user has to know or do;
// without a unit that could be removed it does nothing.
func (m Manager) Set(ctx context.Context, l cluster.Layout, on bool) (cluster.Autostart, error) {
	if on {
		return m.install(ctx, l)
	}
	return cluster.Autostart{}, m.remove(ctx, l)
}

// UnitName is the name of the cluster's unit.
func UnitName(l cluster.Layout) string { return "kl-" + l.Name + ".service" }

func (m Manager) unit(l cluster.Layout) string { return filepath.Join(m.UnitDir, UnitName(l)) }
func (m Manager) link(l cluster.Layout) string {
	return filepath.Join(m.UnitDir, m.Target+".wants", UnitName(l))
}

func (m Manager) install(ctx context.Context, l cluster.Layout) (cluster.Autostart, error) {
	path, link := m.unit(l), m.link(l)
	fail := func(err error) (cluster.Autostart, error) {
		return cluster.Autostart{}, &cluster.Error{Op: "write " + path, Err: err,
			Hint: fmt.Sprintf("run '%s start --name %s' at boot in another way", m.Program, l.Name)}
	}
	if mine, err := m.owns(l); err != nil {
		return fail(err)
	} else if !mine {
		return fail(errors.New("the unit belongs to a cluster of that name in another KL_HOME"))
	}
	if err := statefile.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return fail(err)
	}
	if err := statefile.Write(path, []byte(m.Text(l)), 0o644); err != nil { //nolint:gosec // systemd and people read it
		return fail(err)
	}
	if err := os.Symlink(path, link); err != nil && !errors.Is(err, fs.ErrExist) {
		return fail(err)
	}
	return cluster.Autostart{Path: path, Note: m.reload(ctx, l, path)}, nil
}

// reload has a running systemd read the unit, and returns what prevents a start at boot.
func (m Manager) reload(ctx context.Context, l cluster.Layout, path string) string {
	self := fmt.Sprintf("'%s start --name %s'", m.Program, l.Name)
	if !m.booted() {
		return fmt.Sprintf("systemd does not run on this machine: until it does, run %s at boot in another way (%s is written)",
			self, path)
	}
	if err := m.systemctl(ctx, "daemon-reload"); err != nil {
		return fmt.Sprintf("systemd could not be told of %s (%v): it reads the unit at the next boot", path, err)
	}
	if _, err := os.Stat(filepath.Join(m.Root, "var/lib/systemd/linger", m.User)); m.User != "" && err != nil {
		return fmt.Sprintf("the cluster starts when you log in: 'loginctl enable-linger %s' has it start at boot", m.User)
	}
	return ""
}

// booted is sd_booted(3).
func (m Manager) booted() bool {
	_, err := os.Stat(filepath.Join(m.Root, "run/systemd/system"))
	return err == nil && m.Systemctl != nil
}

func (m Manager) systemctl(ctx context.Context, args ...string) error {
	if m.User != "" {
		args = append([]string{"--user"}, args...)
	}
	return m.Systemctl(ctx, args...)
}

// owns reports whether the unit belongs to this cluster or does not exist.
func (m Manager) owns(l cluster.Layout) (bool, error) {
	text, err := statefile.Read(m.unit(l))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return bytes.HasPrefix(text, []byte(header(l))), nil
}

func (m Manager) remove(ctx context.Context, l cluster.Layout) error {
	if _, err := os.Lstat(m.unit(l)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if mine, err := m.owns(l); err != nil || !mine {
		return err
	}
	for _, path := range []string{m.link(l), m.unit(l)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &cluster.Error{Op: "remove " + path, Err: err, Hint: "remove the file yourself, as root if need be"}
		}
	}
	_ = os.Remove(filepath.Dir(m.link(l))) // fails, as it should, unless that was the last unit
	if m.booted() {
		_ = m.systemctl(ctx, "daemon-reload") // it forgets the unit at the next boot in any case
	}
	return nil
}

func header(l cluster.Layout) string {
	return "# Written by kl up --restart always for " + l.Dir() + "\n"
}

// Text is the cluster's unit file. Its process stays for as long as the cluster runs, and fails if the control plane dies too
// often or its supervisor is killed: then systemd starts the cluster again. After kl stop the unit is inactive.
func (m Manager) Text(l cluster.Layout) string {
	var b strings.Builder
	b.WriteString(header(l))
	fmt.Fprintf(&b, "[Unit]\nDescription=Kubernetes cluster %s\nDocumentation=https://github.com/klkube/kl\n", l.Name)
	if m.User == "" { // a user's systemd knows no units of the system: there, trying again has to do
		b.WriteString("Wants=network-online.target\nAfter=network-online.target docker.service\n")
	}
	b.WriteString("StartLimitIntervalSec=0\n")
	fmt.Fprintf(&b, "\n[Service]\nType=notify\n")
	for _, e := range append([]string{"KL_HOME=" + string(l.Home)}, m.Environ...) {
		fmt.Fprintf(&b, "Environment=%s\n", quote(e))
	}
	fmt.Fprintf(&b, "ExecStart=%s start --foreground --name %s\n", quote(m.Program), l.Name)
	fmt.Fprintf(&b, "ExecStop=%s stop --name %s\n", quote(m.Program), l.Name)
	b.WriteString("TimeoutStartSec=10min\nTimeoutStopSec=1min\nRestart=on-failure\nRestartSec=15\n")
	fmt.Fprintf(&b, "\n[Install]\nWantedBy=%s\n", m.Target)
	return b.String()
}

// quote is a word of a unit file, but for the $ of arguments, which a program's path does not have: see "Quoting" in systemd.syntax(7) and "Specifiers" in systemd.unit(5).
func quote(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "\n", `\n`).Replace(word) + `"`
}
