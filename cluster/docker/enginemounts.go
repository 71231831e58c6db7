package docker

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/system"

	"github.com/klkube/kl/cluster"
)

// containerdStore is what an engine that keeps images as containerd does says of its storage driver.
const containerdStore = "io.containerd.snapshotter.v1"

// engineMounts are what a node reads the engine's images out of, see images.OpenEngine: its files with storage driver overlay2, or the
// content store of its containerd. They are none if it does not keep them as files. Mounts below them are left out: those are
// of running containers.
func engineMounts(info system.Info) []mount.Mount {
	dirs := map[string]string{} // by name in the node
	switch root := imagesDir(info); {
	case root == "":
	case inContainerd(info):
		dirs["content"] = filepath.Join(root, "io.containerd.content.v1.content")
	default:
		for _, name := range []string{"image", "overlay2"} {
			dirs[name] = filepath.Join(root, name)
		}
	}
	var mounts []mount.Mount
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		mounts = append(mounts, mount.Mount{
			Type: mount.TypeBind, Source: dirs[name], Target: filepath.Join(cluster.EngineMountDir, name), ReadOnly: true,
			BindOptions: &mount.BindOptions{NonRecursive: true},
		})
	}
	return mounts
}

// withoutEngine takes the mounts of engineMounts away, for an engine that keeps its images elsewhere.
func withoutEngine(mounts []mount.Mount) []mount.Mount {
	return slices.DeleteFunc(slices.Clone(mounts), func(m mount.Mount) bool { return filepath.Dir(m.Target) == cluster.EngineMountDir })
}

// noEngineDir reports whether a container was refused since the engine has no directory that one of engineMounts names.
func noEngineDir(err error) bool {
	return err != nil && strings.Contains(err.Error(), "bind source path does not exist")
}
