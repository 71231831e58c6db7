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

// volumeUnits are the node's part of storage, and add to the agent's handler; none if the cluster is to have no storage.
func volumeUnits(c cluster.NodeConfig, version string, handler *http.ServeMux, log *slog.Logger) []lifecycle.Unit {
	if !c.Enabled(cluster.FeatureStorage) {
		if err := driver.Forget(kubeletDir); err != nil {
			log.Warn("forget the driver of volumes", "err", err)
		}
		return nil
	}
	volumes := &driver.Server{
		Node: c.Name, Version: version, Kubelet: kubeletDir, Disks: driver.Disks{Dir: cluster.DisksDir}, Logger: log,
		// As a new disk of a cloud: only root may write, until a pod's fsGroup says otherwise.
		Local: &driver.Store{Kind: storage.NodeLocal, Dir: volumesDir, Mode: 0o755, Quota: quota.Of(volumesDir)},
		// As a file server's export: whoever may mount it may write.
		Shared: &driver.Store{
			Kind: storage.Shared, Dir: cluster.SharedMountDir, Mode: 0o777, Quota: quota.Of(cluster.SharedMountDir),
			Mount: "the node was made by an older kl and does not see " + cluster.SharedMountDir +
				": replace it with 'kl node add' and 'kl node remove " + c.Name + "'",
		},
	}
	handler.Handle(storage.StatePath, volumes.Handler())
	handler.Handle(storage.StatePath+"/", volumes.Handler())
	return []lifecycle.Unit{{Component: volumes, Again: func() lifecycle.Component { return volumes }}}
}
