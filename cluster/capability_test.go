package cluster

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestCapabilities(t *testing.T) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: capabilities are Linux's")
	}
	var bounding uint64
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			if _, err := fmt.Sscanf(hex, "%x", &bounding); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, pid := range []int{0, os.Getpid()} {
		have, missing, err := Capabilities(pid)
		if err != nil {
			t.Fatal(err)
		}
		// Numbers from capabilities(7).
		for name, bit := range map[string]int{"CHOWN": 0, "NET_ADMIN": 12, "SYS_ADMIN": 21, "SYS_RESOURCE": 24, "CHECKPOINT_RESTORE": 40} {
			want := bounding&(1<<bit) != 0
			if slices.Contains(have, name) != want || slices.Contains(missing, name) == want {
				t.Errorf("process %d: %s is in the bounding set: %t, but have is %v and missing %v", pid, name, want, have, missing)
			}
		}
	}
	if _, _, err := Capabilities(1 << 30); err == nil {
		t.Error("the capabilities of a process that does not exist were read")
	}
}
