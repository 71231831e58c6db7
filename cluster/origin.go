package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/klkube/kl/cluster/statefile"
)

// Origin is where a cluster was made. What drivers made for it belongs to that home, and so does not follow a directory that is
// moved.
type Origin struct {
	Home  Home   `json:"home"`  // without symbolic links
	Inode uint64 `json:"inode"` // of the cluster's directory, which stays when it is moved; a copy has another one
}

func originFile(l Layout) string { return filepath.Join(l.Dir(), "origin.json") }

// WriteOrigin records that the cluster is at home where it is. It writes nothing if that is known.
func WriteOrigin(l Layout) error {
	inode, err := inodeOf(l.Dir())
	if err != nil {
		return err
	}
	now := Origin{l.Home.Real(), inode}
	if was, err := readOrigin(l); err == nil && was == now {
		return nil
	}
	data, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("encode the cluster's home: %w", err)
	}
	return statefile.Write(originFile(l), data, 0o600)
}

func readOrigin(l Layout) (Origin, error) {
	var o Origin
	data, err := statefile.Read(originFile(l))
	if err == nil {
		err = json.Unmarshal(data, &o)
	}
	return o, err
}

// MovedFrom returns the home that the cluster was made in, if its directory was moved to another one since; empty otherwise, also
// for a copy, and for a cluster that does not say.
func MovedFrom(l Layout) Home {
	o, err := readOrigin(l)
	if err != nil || o.Home == "" || o.Home == l.Home.Real() {
		return ""
	}
	if inode, err := inodeOf(l.Dir()); err != nil || inode != o.Inode {
		return ""
	}
	return o.Home
}

// Gone reports whether there is no such directory. One that cannot be looked at is not gone.
func (h Home) Gone() bool {
	_, err := os.Stat(string(h))
	return errors.Is(err, fs.ErrNotExist)
}

func inodeOf(dir string) (uint64, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("stat %s: no inode", dir)
	}
	return s.Ino, nil
}

// Orphan is a node whose home directory is gone, or whose cluster has no files there any more.
type Orphan struct {
	Home    Home
	Cluster string
	Node    string
}

// Orphaner is a Driver that can tell what is left on its backend of homes that are gone.
type Orphaner interface {
	// Orphans lists the orphans of all homes. A home that this user cannot look at is not gone.
	Orphans(ctx context.Context) ([]Orphan, error)
}

// Rehomer is a Driver that can act for another home, to remove what that has left.
type Rehomer interface {
	// For returns the Driver of another home on the same backend. It needs no Close of its own.
	For(h Home) (Driver, error)
}
