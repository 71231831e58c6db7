package node

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory is the anonymous resident memory of a node's own processes, in bytes. File pages are not counted: they are shared and
// the kernel can drop them.
type Memory struct {
	Node       int64 `json:"node"` // kubelet, kube-proxy and agent
	Containerd int64 `json:"containerd"`
	Shims      int64 `json:"shims"`
	Init       int64 `json:"init"`
	ShimCount  int   `json:"shimCount"`
}

// Total returns the sum in bytes.
func (m Memory) Total() int64 { return m.Node + m.Containerd + m.Shims + m.Init }

// readMemory sums up the processes in proc ("/proc"). Processes that end meanwhile are left out.
func readMemory(proc string) (Memory, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(proc, e.Name(), "cmdline"))
		if err != nil || len(cmdline) == 0 {
			continue
		}
		status, err := os.ReadFile(filepath.Join(proc, e.Name(), "status"))
		if err != nil {
			continue
		}
		m.add(strings.Split(string(cmdline), "\x00"), anonymous(string(status)))
	}
	return m, nil
}

func (m *Memory) add(cmdline []string, bytes int64) {
	role := ""
	if len(cmdline) > 1 {
		role = cmdline[1]
	}
	switch program := filepath.Base(cmdline[0]); {
	case program == "kl-engine" && role == "node":
		m.Node += bytes
	case program == "kl-engine" && role == "containerd":
		m.Containerd += bytes
	case program == "containerd-shim-runc-v2":
		m.Shims += bytes
		m.ShimCount++
	case program == "kl-init":
		m.Init += bytes
	}
}

// anonymous returns RssAnon of a /proc/<pid>/status in bytes.
func anonymous(status string) int64 {
	for line := range strings.Lines(status) {
		value, ok := strings.CutPrefix(line, "RssAnon:")
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			return 0
		}
		return kb << 10
	}
	return 0
}
