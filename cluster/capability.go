package cluster

import (
	"fmt"
	"strings"

	"github.com/moby/sys/capability"
)

// Capabilities returns the capabilities that a process can hand on to the processes it starts (its bounding set), and
// those that the kernel knows but the process lacks; upper-case names without CAP_. Process ID 0 means this process.
func Capabilities(pid int) (have, missing []string, err error) {
	supported, err := capability.ListSupported()
	if err != nil {
		return nil, nil, fmt.Errorf("list capabilities: %w", err)
	}
	sets, err := capability.NewPid2(pid)
	if err == nil {
		err = sets.Load()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read capabilities of process %d: %w", pid, err)
	}
	for _, c := range supported {
		if name := strings.ToUpper(c.String()); sets.Get(capability.BOUNDING, c) {
			have = append(have, name)
		} else {
			missing = append(missing, name)
		}
	}
	return have, missing, nil
}
