package clustertest

import (
	"fmt"
	"testing"

	"github.com/klkube/kl/cluster"
)

// Subject is a driver under test. Its nodes need the commands true, false, echo, hostname, cat, tee and sh, an
// `stty size` if it is an [cluster.Execer], and an init that ends on SIGTERM.
type Subject struct {
	// Connect returns a new driver on the one backend that the whole test uses.
	Connect func(t *testing.T) cluster.Driver
	// Payload is what nodes are made of.
	Payload cluster.Payload
	// Prefix begins the names of all clusters that the test makes.
	Prefix string
	// Residue tells in any words all that the backend holds of a cluster; empty if nothing.
	Residue func(t *testing.T, cluster string) string
}

// Driver runs the contract of [cluster.Driver], and of the optional interfaces that the driver has, one subtest a
// promise. It leaves nothing on the backend.
func Driver(t *testing.T, s Subject) {
	promises := []struct {
		name string
		test func(*bench, *testing.T)
	}{
		{"Name is docker, embedded or simulated", (*bench).named},
		{"Create makes and starts a node", (*bench).creates},
		{"Create returns ErrNodeExists for a name that is taken", (*bench).clashes},
		{"Create leaves nothing behind when it fails", (*bench).failsCleanly},
		{"Create leaves nothing behind when ctx ends", (*bench).cancelsCleanly},
		{"Create runs side by side with distinct addresses", (*bench).createsSideBySide},
		{"List orders by name and tells all of the spec", (*bench).lists},
		{"List of no cluster is of all clusters", (*bench).listsAll},
		{"Delete removes a node and is nil if it is gone", (*bench).deletes},
		{"Close lets nodes live on", (*bench).closes},
		{"Stop and Start keep identity, address and data", (*bench).stopsAndStarts},
		{"Stop and Start are nil if already so", (*bench).stopsTwice},
		{"Kill ends a node at once", (*bench).kills},
		{"Pause freezes and Resume goes on", (*bench).pauses},
		{"Delete takes a paused node and a stopped one", (*bench).deletesAnyState},
		{"Exec returns the exit code", (*bench).execCodes},
		{"Exec passes streams and discards nil ones", (*bench).execStreams},
		{"Exec has a terminal that is resized", (*bench).execTerminal},
		{"Exec returns an error if it could not be run", (*bench).execFails},
		{"Exec ends with ctx", (*bench).execCancelled},
		{"RunDir, NodeDir, SharedDir and Mounts are shown in the node", (*bench).mounts},
		{"DeleteCluster removes what is shared and is nil if it is gone", (*bench).deletesCluster},
		{"Prepare makes Create quicker and may run beside it", (*bench).prepares},
	}
	for i, p := range promises {
		t.Run(p.name, func(t *testing.T) {
			p.test(newBench(t, s, fmt.Sprintf("%s%d", s.Prefix, i)), t)
		})
	}
}
