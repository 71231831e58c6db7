package node

import (
	"log/slog"
	"net/http"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/node/storage"
	"github.com/klkube/kl/embedded/node/storage/driver"
	"github.com/klkube/kl/embedded/node/storage/quota"
)

const (
	kubeletDir = "/var/lib/kubelet"
	volumesDir = "/var/lib/kl/volumes" // lives as long as the node does
)

// volumeUnits returns the components of the node's storage and adds their routes to the mux; none if storage is disabled.
func volumeUnits(c cluster.NodeConfig, version string, handler *http.ServeMux, log *slog.Logger) []lifecycle.Unit {
	if !c.Enabled(cluster.FeatureStorage) {
		if err := driver.Forget(kubeletDir); err != nil {
			log.Warn("remove the volume driver of an earlier run", "err", err)
		}
		return nil
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
