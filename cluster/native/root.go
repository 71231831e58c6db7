//go:build linux

package native

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster"
)

// mountRoot mounts the node's root file system in this process's mount namespace. Nothing of it shows outside, but
// what the host unmounts is unmounted here too.
func (s *supervisor) mountRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("leave the host's mounts: %w", err)
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", escape(s.Spec.Payload.Rootfs), escape(s.upper()), escape(s.work()))
	err := unix.Mount("overlay", s.rootfs(), "overlay", 0, options)
	if errors.Is(err, unix.EINVAL) {
		return &cluster.Error{
			Op: "mount the node's root file system", Err: fmt.Errorf("%w: overlays cannot be on the file system of %s", err, s.dir),
			Hint: "set KL_HOME to a directory on ext4, xfs, btrfs or tmpfs",
		}
	}
	if err != nil {
		return fmt.Errorf("mount the node's root file system: %w", err)
	}
	return nil
}

// escape keeps the separators of mount options in a path from being taken for such.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path)
}

// writeEtc writes the files that tell the node its names and where to ask for others. It goes through the mounted root,
// and replaces what a program in the node may have made a symbolic link to somewhere else.
func (s *supervisor) writeEtc() error {
	resolv, err := resolvConf(os.ReadFile)
	if err != nil {
		return err
	}
	files := map[string]string{
		"hostname":    s.Spec.Name + "\n",
		"hosts":       fmt.Sprintf("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n%s\t%s\n", s.Addr, s.Spec.Name),
		"resolv.conf": resolv,
	}
	root, err := os.OpenRoot(s.rootfs())
	if err != nil {
		return fmt.Errorf("open the node's root: %w", err)
	}
	defer root.Close()
	for name, content := range files {
		path := filepath.Join("etc", name)
		if err := root.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("write /etc/%s in the node: %w", name, err)
		}
		if err := root.WriteFile(path, []byte(content), 0o644); err != nil {
			return fmt.Errorf("write /etc/%s in the node: %w", name, err)
		}
	}
	return nil
}

// resolvConf is the host's resolv.conf without name servers on a loopback address: a node cannot reach those. Behind
// systemd-resolved the real ones are in another file.
func resolvConf(read func(string) ([]byte, error)) (string, error) {
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		data, err := read(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read the host's name servers: %w", err)
		}
		var kept strings.Builder
		servers := 0
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) > 1 && f[0] == "nameserver" {
				addr, err := netip.ParseAddr(f[1])
				if err != nil || addr.IsLoopback() {
					continue
				}
				servers++
			}
			if len(f) > 1 && (f[0] == "nameserver" || f[0] == "search" || f[0] == "options") {
				kept.WriteString(strings.Join(f, " ") + "\n")
			}
		}
		if servers > 0 {
			return kept.String(), nil
		}
	}
	return "# the host has no name server that a node could reach\n", nil
}
