// Package containerd is the container runtime of a node: the upstream daemon with the plugins that a kubelet needs and no
// others. [WriteConfig] writes its configuration, [Run] is the daemon.
package containerd
