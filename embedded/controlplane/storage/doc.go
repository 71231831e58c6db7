// Package storage is the control plane's side of kl's storage: it has nodes make, grow and remove volumes.
//
//	c := controller.New(ctx, controller.Options{Layout: layout, Admin: config, Nodes: hub, Logger: log})
//	err := c.Run(ctx, ready) // classes standard, shared and local-storage exist when it is ready
//
// It is four loops over the same informers: the provisioner, on sig-storage-lib-external-provisioner, makes and removes what
// claims of the classes ask for; the resizer grows it; the survey tells the scheduler how much room each node has, and
// makes a PersistentVolume of each disk in the nodes' discovery directories. Nodes are asked through the tunnel; one that
// is off is waited for. Its user may touch volumes and claims and nothing else.
package storage
