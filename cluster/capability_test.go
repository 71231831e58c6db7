package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitCapabilities(t *testing.T) {
	for _, c := range []struct {
		name    string
		set     uint64
		last    int
		have    int
		missing []string
	}{
		{"all", 0x1ffffffffff, 40, 41, nil},
		{"without SYS_RESOURCE", 0x1fffeffffff, 40, 40, []string{"SYS_RESOURCE"}},
		{"older kernel", 0x3fffffffff, 37, 38, nil},
		{"a newer kernel's are not known", 0x1ffffffffff, 45, 41, nil},
		{"some", 0x1ffffffffff &^ (1<<0 | 1<<20), 40, 39, []string{"CHOWN", "SYS_PACCT"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			have, missing := splitCapabilities(c.set, c.last)
			if len(have) != c.have {
				t.Errorf("have %d, want %d", len(have), c.have)
			}
			if diff := cmp.Diff(c.missing, missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}
