package boot

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Files that Prepare writes for the node's other programs.
const (
	FactsFile  = "/run/kl/facts.json"
	ResolvConf = "/run/kl/resolv.conf" // what the kubelet gives to pods
)

// Facts are properties of the machine that the node's other programs need.
type Facts struct {
	CgroupVersion int `json:"cgroupVersion"` // 1 or 2
	// RestrictOOMScoreAdj is set if no process may lower its OOM score: without CAP_SYS_RESOURCE runc fails with "can't get
	// final child's PID" unless containerd restricts the scores it requests.
	RestrictOOMScoreAdj bool `json:"restrictOOMScoreAdj"`
	// DNSUpstream is the address of the resolver that the DNS relay on the gateway address forwards to; empty if pods can use
	// the node's resolvers directly.
	DNSUpstream string `json:"dnsUpstream,omitempty"`
}

// ReadFacts reads the file that Prepare has written.
func ReadFacts(file string) (Facts, error) {
	var f Facts
	data, err := os.ReadFile(file)
	if err != nil {
		return Facts{}, err
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return Facts{}, fmt.Errorf("parse %s: %w", file, err)
	}
	return f, nil
}

func (f Facts) write(file string) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

// hasSysResource reports whether CAP_SYS_RESOURCE is effective. If that is unknown it returns false, which affects only OOM
// scores.
func (m *Machine) hasSysResource() bool {
	const capSysResource = 24
	data, err := os.ReadFile(m.path("/proc/self/status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return err == nil && caps&(1<<capSysResource) != 0
		}
	}
	return false
}

// writeMachineID gives the node a machine ID that survives restarts. It is stored in /var, which outlives the container's
// writable layer, and copied to /etc.
func (m *Machine) writeMachineID() error {
	kept := m.path("/var/lib/kl/machine-id")
	id, err := os.ReadFile(kept)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if b, err := hex.DecodeString(strings.TrimSpace(string(id))); err != nil || len(b) != 16 {
		random := make([]byte, 16)
		_, _ = rand.Read(random) // never fails
		id = []byte(hex.EncodeToString(random) + "\n")
		if err := os.WriteFile(kept, id, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(m.path("/etc/machine-id"), id, 0o644)
}
