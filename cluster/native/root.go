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

// mountRoot mounts the node's root file system in the mount namespace of this process. The host does not see the mount,
// but what the host unmounts is unmounted here too.
func (s *supervisor) mountRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("separate mounts from the host's: %w", err)
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", escape(s.Spec.Payload.Rootfs), escape(s.upper()), escape(s.work()))
	err := unix.Mount("overlay", s.rootfs(), "overlay", 0, options)
	if errors.Is(err, unix.EINVAL) {
		return &cluster.Error{
			Op: "mount the node's root file system", Err: fmt.Errorf("%w: the file system of %s cannot hold an overlay", err, s.dir),
			Hint: "set KL_HOME to a directory on ext4, xfs, btrfs or tmpfs",
		}
	}
	if err != nil {
		return fmt.Errorf("mount the node's root file system: %w", err)
	}
	return nil
}

// escape escapes the characters of a path that separate mount options.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path)
}

// writeEtc writes the node's host name, hosts and name servers. It never follows a symbolic link out of the node's root: a
// program in the node may have replaced the files by links.
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

// resolvConf returns the host's resolv.conf without the name servers on loopback addresses, which a node cannot reach. With
// systemd-resolved the real name servers are in another file.
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
