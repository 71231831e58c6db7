package images

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/klkube/kl/cluster"
)

func TestWithCompanions(t *testing.T) {
	old, now := digest.FromString("old"), digest.FromString("new")
	all := []coreimages.Image{}
	for name, d := range map[string]digest.Digest{
		"docker.io/library/app:1": now, "docker.io/library/app:2": now, "docker.io/library/app@" + now.String(): now,
		"example.com/app:1": now, "example.com/app@" + now.String(): now, "sha256:config-new": now,
		"docker.io/library/app@" + old.String(): old, "sha256:config-old": old,
	} {
		i := coreimages.Image{Name: name}
		i.Target.Digest = d
		all = append(all, i)
	}
	for names, want := range map[string]string{
		"docker.io/library/app:1":                                           "docker.io/library/app:1",
		"docker.io/library/app:1 docker.io/library/app:2":                   "docker.io/library/app:1 docker.io/library/app:2 docker.io/library/app@" + now.String(),
		"example.com/app:1":                                                 "example.com/app:1 example.com/app@" + now.String(),
		"docker.io/library/app:1 docker.io/library/app:2 example.com/app:1": "docker.io/library/app:1 docker.io/library/app:2 docker.io/library/app@" + now.String() + " example.com/app:1 example.com/app@" + now.String() + " sha256:config-new",
		"docker.io/library/app@" + old.String():                             "docker.io/library/app@" + old.String() + " sha256:config-old",
		"sha256:config-old":                                                 "sha256:config-old",
		"docker.io/library/unknown:1":                                       "",
	} {
		got := withCompanions(all, strings.Fields(names))
		slices.Sort(got)
		if d := cmp.Diff(want, strings.Join(got, " ")); d != "" {
			t.Errorf("%s (-want +got):\n%s", names, d)
		}
	}
}

func TestRemove(t *testing.T) {
	needRoot(t)
	ctx, s, _ := newStore(t)
	data, _ := dockerArchive(t, "one", "example.com/app:1")
	if _, err := s.Import(ctx, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time nothing is there
		if err := s.Remove(ctx, []string{"example.com/app:1"}); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := s.List(ctx); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	for _, names := range [][]string{nil, {"example.com/app:1", cluster.PauseImage}} {
		if err := s.Remove(ctx, names); err == nil {
			t.Errorf("%q were removed", names)
		}
	}
}

func TestUsesOf(t *testing.T) {
	container := func(namespace, pod, ref, name string) *runtimeapi.Container {
		c := &runtimeapi.Container{
			ImageRef: ref, Image: &runtimeapi.ImageSpec{Image: ref, UserSpecifiedImage: name}, Metadata: &runtimeapi.ContainerMetadata{Name: "c"},
		}
		if pod != "" {
			c.Labels = map[string]string{labelNamespace: namespace, labelPod: pod}
		}
		return c
	}
	got := usesOf([]*runtimeapi.Container{
		container("default", "web", "sha256:1", "app:1"), container("default", "web", "sha256:1", "app:1"), container("default", "api", "sha256:1", ""),
		container("default", "web", "sha256:2", "proxy"), container("", "", "sha256:2", "proxy"),
	})
	want := map[string][]cluster.ImageUse{
		"sha256:1": {{Pod: "default/api", Name: "sha256:1"}, {Pod: "default/web", Name: "app:1"}},
		"sha256:2": {{Pod: "container c", Name: "proxy"}, {Pod: "default/web", Name: "proxy"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
