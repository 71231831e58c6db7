package docker

import (
	"context"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/system"

	"github.com/klkube/kl/cluster"
)

// here reports whether the engine runs on this machine, and not in a virtual machine or on another one.
func (d *Driver) here(info system.Info) bool {
	if !strings.HasPrefix(d.client.DaemonHost(), "unix://") {
		return false
	}
	_, err := os.Stat(info.DockerRootDir)
	return err == nil // or this user may not see it
}

// layersVolume is the volume with the layers that nodes of the home share, where the engine runs elsewhere: files of this machine that are
// shown to a virtual machine cannot be all that overlayfs needs.
func (d *Driver) layersVolume() string { return "kl-layers-" + d.owner }

// layersMount returns where a node has shared layers.
func (d *Driver) layersMount(spec cluster.NodeSpec, info system.Info) mount.Mount {
	m := mount.Mount{Type: mount.TypeBind, Source: spec.LayersDir, Target: cluster.LayersMountDir}
	if !d.here(info) {
		m.Type, m.Source = mount.TypeVolume, d.layersVolume()
		m.VolumeOptions = &mount.VolumeOptions{Labels: map[string]string{labelOwner: d.owner, labelHome: string(d.home)}}
	}
	return m
}

// removeLayers removes the volume of layersMount unless a node of the home has it.
func (d *Driver) removeLayers(ctx context.Context) error {
	if info, err := d.info(ctx); err != nil || d.here(info) {
		return nil //nolint:nilerr // an engine that does not answer has made none
	}
	err := d.client.VolumeRemove(ctx, d.layersVolume(), false)
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil
	}
	return wrap("remove volume "+d.layersVolume(), err)
}
