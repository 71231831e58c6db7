// Package host has the verbs of kl: up, down, stop, start, add a node, load an image, and so on.
//
// Each verb is a method of Host. A verb that changes a cluster holds that cluster's lock from its first look to its last
// write, so that two commands never work on one cluster at a time. Progress is reported as cluster.Events.
package host
