// Package storage is the control plane's part of kl's storage: it makes nodes create, grow and delete volumes.
//
// Loops share informers. The provisioner, built on sig-storage-lib-external-provisioner, creates and deletes the volumes
// of claims, also as copies of snapshots and of other claims' volumes. The resizer grows them. The survey publishes the free space of each
// node for the scheduler, and creates a PersistentVolume for each disk in the nodes' discovery directories. The assigner selects nodes where
// the scheduler cannot. Snapshots are the business of upstream's external-snapshotter, both its controller and its sidecar, with a
// nodeSnapshotter in place of a CSI driver. Nodes are reached through the tunnel; work on a node
// that is off is retried until it is back. The controller's user may change volumes, claims and snapshots and nothing else.
package storage
