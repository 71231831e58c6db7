package docker

import (
	"context"
	"fmt"
	"math/bits"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/container"
)

// privileges remembers how nodes get the rights they need from this engine.
//
// A node is a privileged container where that works. Some machines lack a capability altogether (CAP_SYS_RESOURCE in
// many sandboxes); their engines cannot start any privileged container, "unable to apply caps: operation not
// permitted". There a node gets everything that privileged means, one by one, except the missing capabilities.
type privileges struct {
	host string // of the engine

	mu      sync.Mutex
	decided bool
	missing []string // capabilities to do without; none means privileged
}

// missingCaps returns the capabilities that nodes do without. It looks at the engine's process if it is local.
func (p *privileges) missingCaps() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.decided {
		p.decided = true
		if path, ok := strings.CutPrefix(p.host, "unix://"); ok {
			p.missing = capsMissingFrom(boundingSet(peer(path)), lastCap())
		}
	}
	return p.missing
}

// refused is told that the engine could not start a privileged container. It returns false if that is no news, so that
// trying again would not help.
func (p *privileges) refused(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.missing) > 0 || !strings.Contains(err.Error(), "unable to apply caps") && !strings.Contains(err.Error(), "unable to apply bounding set") {
		return false
	}
	p.decided, p.missing = true, []string{"SYS_RESOURCE"} // the one that is missing in practice
	return true
}

// apply sets the part of a container's configuration that gives it rights.
func (p *privileges) apply(h *container.HostConfig) {
	h.SecurityOpt = []string{"label=disable"}
	missing := p.missingCaps()
	if len(missing) == 0 {
		h.Privileged = true
		return
	}
	h.CapAdd, h.CapDrop = []string{"ALL"}, missing
	h.SecurityOpt = append(h.SecurityOpt, "seccomp=unconfined", "apparmor=unconfined")
	h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{} // what systempaths=unconfined means in the API
	h.DeviceCgroupRules = []string{"a *:* rwm"}
}

// capNames are the capabilities by number, see capabilities(7).
func capNames() []string {
	return strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
		NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE
		SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL
		SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)
}

// capsMissingFrom names the capabilities up to the kernel's last one that are not in a bounding set. An unknown set
// (0) lacks none.
func capsMissingFrom(set uint64, last int) []string {
	if set == 0 {
		return nil
	}
	var missing []string
	for i, name := range capNames() {
		if i <= last && set&(1<<i) == 0 {
			missing = append(missing, name)
		}
	}
	return slices.Clip(missing)
}

// peer returns the process that listens on a unix socket, 0 if it cannot be told (another PID namespace, no access).
func peer(socket string) int {
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "unix", socket) //nolint:contextcheck // local, at once
	if err != nil {
		return 0
	}
	defer conn.Close()
	return peerPID(conn.(*net.UnixConn))
}

// boundingSet reads the capability bounding set of a process, 0 if it cannot be told.
func boundingSet(pid int) uint64 {
	if pid == 0 {
		return 0
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			set, _ := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return set
		}
	}
	return 0
}

// lastCap is the number of the last capability that the kernel knows.
func lastCap() int {
	if data, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			return min(n, bits.UintSize-1)
		}
	}
	return 0
}
