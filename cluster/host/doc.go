// Package host has the verbs of kl: up, down, stop, start, add a node, load an image, and so on.
//
// Each verb is a method of Host. A verb that changes a cluster holds that cluster's lock from its first look to its last
// write, so that two commands never work on one cluster at a time. Progress is reported as cluster.Events.
//
//	h := &host.Host{Home: home, OpenDriver: open, Drivers: []cluster.DriverName{cluster.DriverDocker}, Payload: unpack}
//	result, err := h.Up(ctx, cluster.Spec{Name: "demo"}, host.UpOptions{})
package host
