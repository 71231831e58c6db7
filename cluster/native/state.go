//go:build linux

package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// container is the state of a node's container. The zero value means that there is none.
type container struct {
	ID     string
	PID    int    // of its init; 0 if it has ended
	Status string // created, running, paused or stopped, in runc's words
}

// container reads the state file that runc keeps: `runc state` takes a hundred times as long, and `runc list` fails if a
// container is deleted while it runs.
func (r runc) container(name string) (container, error) {
	dir := filepath.Join(r.root, name)
	var state struct {
		PID     int               `json:"init_process_pid"`
		Start   uint64            `json:"init_process_start"` // in ticks since the machine booted
		Cgroups map[string]string `json:"cgroup_paths"`       // by controller; with v2 a single one, named ""
	}
	err := statefile.ReadJSON(filepath.Join(dir, "state.json"), &state)
	if errors.Is(err, fs.ErrNotExist) {
		return container{}, nil
	}
	if err != nil {
		return container{}, fmt.Errorf("read the state of container %s: %w", name, err)
	}
	c := container{ID: name, Status: "stopped"}
	if start, ok := startTime(state.PID); !ok || start != state.Start {
		return c, nil
	}
	c.PID, c.Status = state.PID, "running"
	if _, err := os.Stat(filepath.Join(dir, "exec.fifo")); err == nil {
		c.Status = "created" // its init waits on the FIFO for `runc start`
	} else if frozen(state.Cgroups) {
		c.Status = "paused"
	}
	return c, nil
}

// frozen reports whether a container's cgroup is frozen, or about to be.
func frozen(cgroups map[string]string) bool {
	if dir, ok := cgroups["freezer"]; ok { // v1
		state, _ := os.ReadFile(filepath.Join(dir, "freezer.state"))
		return strings.HasPrefix(string(state), "FR") // FROZEN, FREEZING
	}
	state, _ := os.ReadFile(filepath.Join(cgroups[""], "cgroup.freeze"))
	return strings.TrimSpace(string(state)) == "1"
}

// stateOf is Stopped for a container that does not exist, or whose init has not started or has ended.
func stateOf(c container) cluster.NodeState {
	switch c.Status {
	case "running":
		return cluster.NodeRunning
	case "paused":
		return cluster.NodePaused
	default:
		return cluster.NodeStopped
	}
}
