// Package driver is the node's side of kl's storage: volumes are directories, and pods get them through CSI.
//
//	s := &driver.Server{Node: "n1", Local: driver.NewStore("/var/lib/kl/volumes", 0o755), Shared: …, Logger: log}
//	mux.Handle("/v1/storage", s.Handler()) // the control plane makes and removes volumes
//	err := s.Run(ctx, ready)               // the kubelet mounts them
//
// A volume is a directory <store>/<ID> that holds volume.json and data, which is what pods see. It is made under another name
// and renamed, and renamed again before it is removed, so that a crash leaves nothing half made.
package driver
