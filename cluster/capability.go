package cluster

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// capabilityNames are the capabilities by number, see capabilities(7).
func capabilityNames() []string {
	return strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
		NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE
		SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL
		SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)
}

// Capabilities tells which capabilities a process of this machine can hand on to the ones it starts, and which the
// kernel knows but the process lacks; names without CAP_. pid may be self.
func Capabilities(pid string) (have, missing []string, err error) {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return nil, nil, fmt.Errorf("read capabilities: %w", err)
	}
	last := 0
	if data, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		last, _ = strconv.Atoi(strings.TrimSpace(string(data)))
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				return nil, nil, fmt.Errorf("read capabilities: %w", err)
			}
			have, missing = splitCapabilities(set, last)
		}
	}
	return have, missing, nil
}

// splitCapabilities names the capabilities up to the kernel's last one that are in a set, and those that are not.
func splitCapabilities(set uint64, last int) (have, missing []string) {
	for i, name := range capabilityNames() {
		switch {
		case i > last:
		case set&(1<<i) != 0:
			have = append(have, name)
		default:
			missing = append(missing, name)
		}
	}
	return have, missing
}
