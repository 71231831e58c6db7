//go:build linux

package native

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// dockerConfig is where an engine on this machine may be told to keep its files elsewhere.
const dockerConfig = "/etc/docker/daemon.json"

// engineMounts are what a node reads the images of a Docker engine on this machine out of, see images.OpenEngine. Mounts below them are
// left out: those are of running containers.
func engineMounts(config string) []specs.Mount {
	root := "/var/lib/docker"
	var daemon struct {
		DataRoot string `json:"data-root"`
	}
	if data, err := statefile.Read(config); err == nil && json.Unmarshal(data, &daemon) == nil && filepath.IsAbs(daemon.DataRoot) {
		root = daemon.DataRoot // a file that is missing or wrong is the engine's business
	}
	const content = "io.containerd.content.v1.content"
	var mounts []specs.Mount
	for _, m := range []struct{ name, dir string }{
		{"image", filepath.Join(root, "image")},
		{"overlay2", filepath.Join(root, "overlay2")},
		{"content", filepath.Join(root, "containerd/daemon", content)},
		{"content", filepath.Join("/var/lib/containerd", content)},
	} {
		target := filepath.Join(cluster.EngineMountDir, m.name)
		taken := len(mounts) > 0 && mounts[len(mounts)-1].Destination == target
		if info, err := os.Stat(m.dir); err != nil || !info.IsDir() || taken {
			continue
		}
		mount := bind(m.dir, target, true)
		mount.Options[0] = "bind"
		mounts = append(mounts, mount)
	}
	return mounts
}
