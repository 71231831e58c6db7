//go:build linux

package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klkube/kl/cluster"
)

// container is the state of a node's container. The zero value is that there is none.
type container struct {
	ID     string
	PID    int    // of its init; 0 if that has ended
	Status string // created, running, paused or stopped, as runc calls them
}

// container reads the state that runc keeps, as `runc state` does, which takes a hundred times as long; `runc list`
// fails if any container goes away meanwhile.
func (r runc) container(name string) (container, error) {
	dir := filepath.Join(r.root, name)
	data, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return container{}, nil
	}
	var state struct {
		PID     int               `json:"init_process_pid"`
		Start   uint64            `json:"init_process_start"` // in ticks since the machine started
		Cgroups map[string]string `json:"cgroup_paths"`       // by controller; with v2 one, without a name
	}
	if err == nil {
		err = json.Unmarshal(data, &state)
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
		c.Status = "created" // its init waits there to be let go
	} else if frozen(state.Cgroups) {
		c.Status = "paused"
	}
	return c, nil
}

// frozen tells whether a container's cgroup was told to freeze.
func frozen(cgroups map[string]string) bool {
	if dir, ok := cgroups["freezer"]; ok { // v1
		state, _ := os.ReadFile(filepath.Join(dir, "freezer.state"))
		return strings.HasPrefix(string(state), "FR") // FROZEN, FREEZING
	}
	state, _ := os.ReadFile(filepath.Join(cgroups[""], "cgroup.freeze"))
	return strings.TrimSpace(string(state)) == "1"
}

// startTime is when a process began; ok is false if it does not run, also if it only waits to be reaped.
func startTime(pid int) (ticks uint64, ok bool) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false
	}
	// pid (name) state ppid …: the name may hold anything, also parentheses. The start time is the 22nd field.
	f := strings.Fields(string(stat)[strings.LastIndexByte(string(stat), ')')+1:])
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return 0, false
	}
	ticks, err = strconv.ParseUint(f[19], 10, 64)
	return ticks, err == nil
}

// alive tells whether a process runs.
func alive(pid int) bool {
	_, ok := startTime(pid)
	return ok
}

// stateOf is Stopped for a container that there is none of, or whose init has ended or not begun.
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
