package cluster

import (
	"os"
	"path/filepath"
	"strings"
)

// RunDir is where the embedded driver keeps what is gone after a reboot.
const RunDir = "/run/kl"

// Forwarding is what the embedded driver remembers of the machine from before it turned on IP forwarding, so that it can be put
// back when the last cluster is gone.
type Forwarding struct {
	Former  string   `json:"former"`  // value of net.ipv4.ip_forward
	Bridges []string `json:"bridges"` // that existed: with a later one, somebody else may need forwarding by now
}

// ForwardingFile returns the file that holds a Forwarding while IP forwarding is on for kl's sake. The setting belongs to a
// network namespace, and so does the file. root is "/", or in tests a directory in its place.
func ForwardingFile(root string) string {
	ns, err := os.Readlink(filepath.Join(root, "/proc/thread-self/ns/net"))
	if err != nil {
		ns = "net:[0]"
	}
	return filepath.Join(root, RunDir, "forwarding-"+strings.Trim(ns, "net:[]"))
}
