// Package storage is the control plane's part of kl's storage: it makes nodes create, grow and delete volumes.
//
// Three loops share informers. The provisioner, built on sig-storage-lib-external-provisioner, creates and deletes the volumes
// of claims. The resizer grows them. The survey publishes the free space of each node for the scheduler, and creates a
// PersistentVolume for each disk in the nodes' discovery directories. Nodes are reached through the tunnel; work on a node
// that is off is retried until it is back. The controller's user may change volumes and claims and nothing else.
package storage
