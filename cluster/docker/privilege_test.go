package docker_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster/docker"
)

func TestCapsMissingFrom(t *testing.T) {
	for _, c := range []struct {
		name string
		set  uint64
		last int
		want []string
	}{
		{"all", 0x1ffffffffff, 40, nil},
		{"unknown", 0, 40, nil},
		{"without SYS_RESOURCE", 0x1fffeffffff, 40, []string{"SYS_RESOURCE"}},
		{"older kernel", 0x3fffffffff, 37, nil},
		{"a newer kernel's are not known", 0x1ffffffffff, 45, nil},
		{"a container's own", 0x1ffffffffff &^ (1<<0 | 1<<20), 40, []string{"CHOWN", "SYS_PACCT"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, docker.CapsMissingFrom(c.set, c.last)); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}
