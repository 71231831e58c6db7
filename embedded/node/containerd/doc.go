// Package containerd is the container runtime of a node: the upstream daemon with the plugins that a kubelet needs and no
// others, and the configuration kl gives it.
//
//	config := containerd.Config(facts, node.Mirrors) // contents of containerd's config.toml
//	err := containerd.Run([]string{"--config", file}) // until SIGTERM
package containerd
