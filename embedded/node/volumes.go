package node

import (
	"log/slog"
	"net/http"
	"os"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/node/storage"
	"github.com/klkube/kl/embedded/node/storage/driver"
	"github.com/klkube/kl/embedded/node/storage/loop"
	"github.com/klkube/kl/embedded/node/storage/quota"
)

const (
	kubeletDir = "/var/lib/kubelet"
	volumesDir = "/var/lib/kl/volumes" // lives as long as the node does
	kubeletBin = "/var/lib/kl/bin"     // programs that the kubelet finds before others
)

// volumeUnits returns the components of the node's storage and adds their routes to the mux; none if storage is disabled.
// Call it before the kubelet runs.
func volumeUnits(c cluster.NodeConfig, version string, handler *http.ServeMux, log *slog.Logger) []lifecycle.Unit {
	if !c.Enabled(cluster.FeatureStorage) {
		if err := driver.Forget(kubeletDir); err != nil {
			log.Warn("remove the volume driver of an earlier run", "err", err)
		}
		return nil
	}
	if err := shadowLosetup(); err != nil {
		log.Warn("replace losetup for the kubelet: loop devices of block volumes stay when the node is killed", "err", err)
	}
	volumes := &driver.Server{
		Node: c.Name, Version: version, Kubelet: kubeletDir, Disks: driver.Disks{Dir: cluster.DisksDir}, Logger: log,
		Local: &driver.Store{Kind: storage.NodeLocal, Dir: volumesDir, Quota: quota.Of(volumesDir)},
		Shared: &driver.Store{
			Kind: storage.Shared, Dir: cluster.SharedMountDir, Quota: quota.Of(cluster.SharedMountDir),
			Mount: "the node was made by an older kl and does not see " + cluster.SharedMountDir +
				": replace it with 'kl node add' and 'kl node remove " + c.Name + "'",
		},
	}
	handler.Handle(storage.StatePath, volumes.Handler())
	handler.Handle(storage.StatePath+"/", volumes.Handler())
	return []lifecycle.Unit{reusable(volumes)}
}

// shadowLosetup makes the kubelet attach loop devices that end with the node.
func shadowLosetup() error {
	engine, err := os.Executable()
	if err != nil {
		return err
	}
	return loop.Shadow(kubeletBin, engine)
}
