package clustertest

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klkube/kl/cluster"
)

// Subject is a driver under test. If it is an [cluster.Execer], its nodes need the commands true, false, echo, hostname,
// cat, tee, sh and stty, and an init that ends on SIGTERM; real nodes also need dd and timeout. [SmallPayload] has them.
type Subject struct {
	// Connect returns a new driver on the one backend that the whole test uses.
	Connect func(t *testing.T) cluster.Driver
	// Payload is what nodes are made of.
	Payload cluster.Payload
	// Prefix begins the names of all clusters that the test makes.
	Prefix string
	// Residue describes everything that the backend holds of a cluster. It is empty if there is nothing.
	Residue func(t *testing.T, cluster string) string
	// Real says that nodes run processes of this machine's kernel: their limits hold and their ports answer.
	Real bool
	// Network returns the address range of a cluster's nodes. It is nil if nodes have no network.
	Network func(t *testing.T, cluster string) netip.Prefix
	// Image names the image of a payload in the backend, for a [cluster.ImageSource].
	Image func(p cluster.Payload) string
	// Stranger returns a new driver on the same backend for another owner, such as another home directory. It is nil if the
	// backend has one owner.
	Stranger func(t *testing.T) cluster.Driver
	// Purge replaces Purge of a [cluster.Purger] that would also remove what the test has not made: it purges one payload
	// alone. If it is nil, Purge itself is called.
	Purge func(ctx context.Context, d cluster.Driver, p cluster.Payload) error
}

// promise is one sentence of the contract.
type promise struct {
	name string
	test func(*bench, *testing.T)
	of   func(cluster.Driver, Subject) bool // whether a driver makes it; nil: every driver does
}

// has is a promise of the drivers that implement an optional interface.
func has[I any](d cluster.Driver, _ Subject) bool {
	_, ok := d.(I)
	return ok
}

func both(a, b func(cluster.Driver, Subject) bool) func(cluster.Driver, Subject) bool {
	return func(d cluster.Driver, s Subject) bool { return a(d, s) && b(d, s) }
}

func isReal(_ cluster.Driver, s Subject) bool { return s.Real }

func hasNetwork(_ cluster.Driver, s Subject) bool { return s.Network != nil }

func promises() []promise {
	execer, starter, pauser := has[cluster.Execer], has[cluster.Starter], has[cluster.Pauser]
	purger := both(has[cluster.Purger], has[cluster.Preparer])
	shared := func(_ cluster.Driver, s Subject) bool { return s.Stranger != nil }
	return []promise{
		{"Name is docker, embedded or simulated", (*bench).named, nil},
		{"Create makes and starts a node", (*bench).creates, nil},
		{"Create returns ErrNodeExists for a name that is taken", (*bench).clashes, nil},
		{"Create leaves nothing behind when it fails", (*bench).failsCleanly, nil},
		{"Create leaves nothing behind when ctx ends", (*bench).cancelsCleanly, nil},
		{"Create runs side by side with distinct addresses", (*bench).createsSideBySide, nil},
		{"Create keeps the network off the ranges of Avoid", (*bench).avoids, hasNetwork},
		{"Create limits memory", (*bench).limitsMemory, both(isReal, execer)},
		{"Create limits CPU", (*bench).limitsCPU, both(isReal, execer)},
		{"Create publishes TCP ports that answer", (*bench).answersTCP, both(isReal, execer)},
		{"Create publishes UDP ports that answer", (*bench).answersUDP, both(isReal, execer)},
		{"Create refuses a protocol that it cannot publish", (*bench).refusesProtocol, hasNetwork},
		{"List orders by name and returns all of the spec", (*bench).lists, nil},
		{"List of no cluster is of all clusters", (*bench).listsAll, nil},
		{"List leaves out what another owner has", (*bench).listsOwn, shared},
		{"Create makes a node whose name another owner has", (*bench).createsBesideStranger, shared},
		{"Create leaves what another owner has when it fails", (*bench).failsBesideStranger, shared},
		{"Delete and DeleteCluster leave what another owner has", (*bench).deletesOwn, shared},
		{"Stop, Start, Kill, Pause, Resume and Exec refuse what another owner has", (*bench).refusesStranger, both(shared, both(starter, both(pauser, execer)))},
		{"Purge leaves what another owner has", (*bench).purgesOwn, both(shared, purger)},
		{"Delete removes a node and is nil if it is gone", (*bench).deletes, nil},
		{"Close lets nodes live on", (*bench).closes, nil},
		{"Stop and Start keep identity, address and data", (*bench).stopsAndStarts, both(starter, execer)},
		{"Stop and Start are nil if already so", (*bench).stopsTwice, starter},
		{"Kill ends a node at once", (*bench).kills, both(starter, execer)},
		{"Pause freezes and Resume unfreezes", (*bench).pauses, both(pauser, execer)},
		{"Upgrade makes a stopped node of another payload and keeps its address and data", (*bench).upgrades, both(has[cluster.Upgrader], both(starter, execer))},
		{"Upgrade does nothing to a node that is of the payload", (*bench).upgradesTwice, both(has[cluster.Upgrader], starter)},
		{"Delete takes a paused node and a stopped one", (*bench).deletesAnyState, both(pauser, starter)},
		{"Exec returns the exit code", (*bench).execCodes, execer},
		{"Exec passes streams and discards nil ones", (*bench).execStreams, execer},
		{"Exec has a terminal that is resized", (*bench).execTerminal, execer},
		{"Exec returns an error if it could not be run", (*bench).execFails, execer},
		{"Exec ends with ctx", (*bench).execCancelled, execer},
		{"TunnelDir, NodeDir, SharedDir and Mounts are shown in the node", (*bench).mounts, execer},
		{"DeleteCluster removes what is shared and is nil if it is gone", (*bench).deletesCluster, has[cluster.Cleaner]},
		{"Prepare does the slow work of Create", (*bench).prepares, has[cluster.Preparer]},
		{"Prepare may run beside Create", (*bench).preparesBeside, has[cluster.Preparer]},
		{"Purge removes what no node uses any more", (*bench).purges, purger},
		{"SaveImages returns the named images as one archive", (*bench).savesImages, both(has[cluster.ImageSource], has[cluster.Preparer])},
		{"SaveImages returns ErrNoImage for an unknown name", (*bench).savesUnknown, has[cluster.ImageSource]},
		{"WatchImages sees the names that images get", (*bench).watchesImages, both(has[cluster.ImageWatcher], has[cluster.Preparer])},
	}
}

// Driver runs the contract of [cluster.Driver], and of the optional interfaces that the driver has, one subtest a
// promise. It leaves nothing on the backend but images of s.Payload and of payloads whose SHA begins with its.
func Driver(t *testing.T, s Subject) {
	d := s.Connect(t)
	defer d.Close()
	if s.Real {
		buildAnswer(t, s.Payload)
	}
	for i, p := range promises() {
		if p.of != nil && !p.of(d, s) {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			p.test(newBench(t, s, fmt.Sprintf("%s%d", s.Prefix, i)), t)
		})
	}
}

// buildAnswer puts the program of package answer into a payload.
func buildAnswer(t *testing.T, p cluster.Payload) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(p.Rootfs, "bin/answer"), "github.com/klkube/kl/cluster/clustertest/answer")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build answer: %v\n%s", err, out)
	}
}
