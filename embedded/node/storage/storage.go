// Package storage is what the two halves of kl's storage say to each other. Package driver is the node's: it keeps
// volumes as directories, mounts them into pods as a CSI driver, and does what the control plane asks of it through the
// tunnel. Package controller is the control plane's: it decides where volumes are and asks the nodes.
//
//	agent := storage.Agent{Node: "n1", Transport: hub.AgentTransport("n1")}
//	v, err := agent.Put(ctx, storage.Volume{Kind: storage.NodeLocal, ID: "pvc-1234", Size: 1 << 30})
//	err = agent.Delete(ctx, storage.NodeLocal, "pvc-1234")
//	state, err := agent.State(ctx) // room, and the disks in the discovery directory
package storage

import (
	"errors"
	"fmt"
	"regexp"
)

// Names of the driver and of its objects in the API.
const (
	Driver        = "csi.kl.dev"
	KindKey       = "csi.kl.dev/kind" // parameter of a StorageClass, attribute of a volume: a Kind
	LimitKey      = "csi.kl.dev/size-limit"
	StandardClass = "standard"
	SharedClass   = "shared"
	LocalClass    = "local-storage"
	// TopologyKey is the label by which a node-local volume finds its node.
	TopologyKey = "kubernetes.io/hostname"
)

// Kind says where a volume is.
type Kind string

// The kinds of volumes.
const (
	NodeLocal Kind = "local"  // on the disk of one node
	Shared    Kind = "shared" // in the tree that all nodes mount
)

// Volume is a directory that pods mount.
type Volume struct {
	Kind Kind   `json:"kind"`
	ID   string `json:"id"`   // the name of its PersistentVolume
	Size int64  `json:"size"` // bytes asked for
	// Limit tells whether more than Size can be written. It is only told, never asked for.
	Limit Limit `json:"limit"`
}

// Limit is whether the file system keeps volumes within their size.
type Limit struct {
	Enforced bool   `json:"enforced"`
	Reason   string `json:"reason,omitempty"` // why it is not
}

func (l Limit) String() string {
	if l.Enforced {
		return "enforced"
	}
	return "not enforced: " + l.Reason
}

// State is what a node has for volumes.
type State struct {
	Pools map[Kind]Pool `json:"pools"`
	Disks []Disk        `json:"disks"`
}

// Pool is where volumes of a kind are made.
type Pool struct {
	Capacity  int64 `json:"capacity"`
	Available int64 `json:"available"`
	Limit     Limit `json:"limit"`
	// Missing says why there is none on this node; empty if there is.
	Missing string `json:"missing,omitempty"`
}

// Disk is a mount point in the discovery directory of a node.
type Disk struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	Capacity int64  `json:"capacity"`
}

// ErrInUse is returned for volumes and disks that are to be deleted while a pod of the node has them mounted.
var ErrInUse = errors.New("still mounted by a pod")

// ErrGone is returned for what a node does not have.
var ErrGone = errors.New("there is no such volume")

// ErrInvalid is returned for a volume that cannot be: another attempt cannot cure it.
var ErrInvalid = errors.New("invalid volume")

// CheckID returns an error for what cannot be the name of a directory.
func CheckID(id string) error {
	if !regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,252}$`).MatchString(id) {
		return fmt.Errorf("%w: %q cannot be its name", ErrInvalid, id)
	}
	return nil
}
