// Package storage is the protocol between the two halves of kl's storage. Package driver is the node's half: it keeps volumes
// as directories and files, gives them to pods as a CSI driver, and serves the control plane's requests. The control plane's half,
// embedded/controlplane/storage, decides where volumes are and calls the nodes through [Agent].
package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"time"

	"github.com/klkube/kl/cluster"
)

// Names of the driver and of its objects in the API.
const (
	Driver        = cluster.StorageDriver
	KindKey       = "csi.kl.dev/kind" // parameter of a StorageClass, attribute of a volume: a Kind
	ModeKey       = "csi.kl.dev/mode" // parameter of a StorageClass: permissions of new volumes, in octal as chmod takes them
	LimitKey      = "csi.kl.dev/size-limit"
	StandardClass = "standard"
	SharedClass   = "shared"
	LocalClass    = "local-storage"
	// TopologyKey is the label by which a node-local volume finds its node.
	TopologyKey = "kubernetes.io/hostname"
)

// Kind is where a volume is.
type Kind string

// The kinds of volumes.
const (
	NodeLocal Kind = "local"  // on the disk of one node
	Shared    Kind = "shared" // in the tree that all nodes mount
)

// DefaultMode lets every user write, as the volumes of other local clusters do, so that a pod with runAsUser needs no fsGroup.
const DefaultMode fs.FileMode = 0o777

// BlockReadOnly says why a block volume has no read-only access mode.
const BlockReadOnly = "a volume of volumeMode Block cannot be read-only for all of its pods: use readOnly in the pod's volume"

// Volume is a directory that pods mount, or a block device of theirs.
type Volume struct {
	Kind Kind   `json:"kind"`
	ID   string `json:"id"`   // the name of its PersistentVolume
	Size int64  `json:"size"` // requested, in bytes
	// Block is whether the volume is a block device.
	Block bool `json:"block,omitempty"`
	// Mode is the permission bits of a new volume's directory, which belongs to root. Zero is DefaultMode.
	Mode fs.FileMode `json:"mode,omitempty"`
	// Source is whose data a new volume begins with; nil for an empty one.
	Source *Source `json:"source,omitempty"`
	// Changed is set by the node: what pods wrote to whenever it was copied from Source. See Snapshot.
	Changed []string `json:"changed,omitempty"`
	// Limit is set by the node: whether more than Size can be written.
	Limit Limit `json:"limit"`
}

// Source is what a new volume is a copy of: a snapshot or a volume of the same node, or of the tree that all nodes mount.
type Source struct {
	Kind     Kind   `json:"kind"`
	Snapshot string `json:"snapshot,omitempty"` // its ID
	Volume   string `json:"volume,omitempty"`   // its ID, if Snapshot is empty
}

func (s Source) String() string {
	if s.Snapshot != "" {
		return string(s.Kind) + " snapshot " + s.Snapshot
	}
	return string(s.Kind) + " volume " + s.Volume
}

// Snapshot is a copy of a volume's data that nobody changes.
type Snapshot struct {
	Kind    Kind      `json:"kind"`
	ID      string    `json:"id"`
	Volume  string    `json:"volume"` // the ID of the volume that was copied
	Size    int64     `json:"size"`   // of that volume, in bytes
	Block   bool      `json:"block,omitempty"`
	Created time.Time `json:"created,omitzero"`
	// Ready is false while the data is still being copied. All else but ID, Kind and Volume is unknown then.
	Ready bool `json:"ready"`
	// Changed is what pods wrote to whenever it was copied, a name or more: it may hold some of the old and some of the new data.
	Changed []string `json:"changed,omitempty"`
}

// Limit is whether the file system enforces the size of volumes.
type Limit struct {
	Enforced bool   `json:"enforced"`
	Reason   string `json:"reason,omitempty"` // why not
}

func (l Limit) String() string {
	if l.Enforced {
		return "enforced"
	}
	return "not enforced: " + l.Reason
}

// State is a node's storage.
type State struct {
	Pools map[Kind]Pool `json:"pools"`
	Disks []Disk        `json:"disks"`
}

// Pool is the file system for volumes of one kind. Sizes are in bytes.
type Pool struct {
	Capacity  int64 `json:"capacity"`
	Available int64 `json:"available"`
	Limit     Limit `json:"limit"`
	// Missing is why the node has no such pool; empty if it has one.
	Missing string `json:"missing,omitempty"`
}

// Disk is a mount point in the discovery directory of a node.
type Disk struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	Capacity int64  `json:"capacity"` // bytes
}

// ErrInUse is returned when something cannot be deleted because a pod of the node has it mounted, or because it is being copied.
var ErrInUse = errors.New("still mounted by a pod, or being copied")

// ErrGone is returned for a volume, snapshot or disk that the node does not have.
var ErrGone = errors.New("there is no such volume, snapshot or disk")

// ErrExists is returned for a snapshot whose ID another volume's snapshot has.
var ErrExists = errors.New("exists already")

// ErrCopying is returned for a new volume whose data is still being copied. The copy goes on: ask again.
var ErrCopying = errors.New("still being copied")

// ErrNoSpace is returned when there is no room for a copy.
var ErrNoSpace = errors.New("no space left for the copy")

// ErrInvalid is returned for a request that can never succeed.
var ErrInvalid = errors.New("invalid volume")

// CheckID returns ErrInvalid unless id can be the name of a volume's directory.
func CheckID(id string) error {
	if !regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,252}$`).MatchString(id) {
		return fmt.Errorf("%w: %q cannot be its name", ErrInvalid, id)
	}
	return nil
}

// ParseMode returns the permission bits that a class's parameter ModeKey stands for, DefaultMode if it is not set.
func ParseMode(text string) (fs.FileMode, error) {
	if text == "" {
		return DefaultMode, nil
	}
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode == 0 || mode > uint64(fs.ModePerm) {
		return 0, fmt.Errorf("%w: mode %q is not permissions in octal such as 0755", ErrInvalid, text)
	}
	return fs.FileMode(mode), nil
}
