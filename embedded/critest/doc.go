// Package critest runs the CRI validation suite of sigs.k8s.io/cri-tools against the container runtime of the node it runs in.
// It is a program of its own, cmd/kl-critest, that `kl cri check` starts in the node:
//
//	err := critest.Run(ctx, critest.Options{Focus: []string{"Container"}, Results: os.Stdout})
//
// The kubelet ends every pod that it does not know within seconds, so the suite cannot use the daemon that the kubelet uses. It
// gets a second one, for as long as it runs: the same programs (containerd, shim, runc, CNI plugins), the same configuration
// file and the same pod network, with directories and a socket of its own. The kubelet sees none of it, and with the
// directories everything is gone.
//
// Nothing is pulled from outside: the daemon gets all images from a registry in this process, which makes them under the names
// that the suite asks for, from the node's busybox and from this program, which is the servers and tools in them (Applet).
package critest
