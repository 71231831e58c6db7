package images

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
)

func TestUnused(t *testing.T) {
	image := func(name, content string, labels map[string]string) coreimages.Image {
		i := coreimages.Image{Name: name, Labels: labels}
		i.Target.Digest = digest.FromString(content)
		return i
	}
	pin := map[string]string{pinKey: pinned}
	all := []coreimages.Image{
		image("kl.local/pause:1", "pause", pin),
		image("docker.io/library/pulled:1", "pulled", nil),
		image("docker.io/library/pulled@sha256:1", "pulled", nil),
		image("docker.io/library/runs:1", "runs", nil),
		image("sha256:2", "runs", nil), // the CRI plugin's name for it, which the container has
		image("kl.test/loaded:1", "loaded", pin),
		image("kl.test/loaded-and-runs:1", "loaded and runs", pin),
	}
	keep := []string{"kl.local/pause:1", "sha256:2", "kl.test/loaded-and-runs:1"}
	for _, tt := range []struct {
		loaded bool
		want   []string
	}{
		{false, []string{"docker.io/library/pulled:1", "docker.io/library/pulled@sha256:1"}},
		{true, []string{"docker.io/library/pulled:1", "docker.io/library/pulled@sha256:1", "kl.test/loaded:1"}},
	} {
		var got []string
		for _, i := range unused(all, keep, tt.loaded) {
			got = append(got, i.Name)
		}
		slices.Sort(got)
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("loaded %t (-want +got):\n%s", tt.loaded, d)
		}
	}
}
