package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
)

// imagesOn has a node have images.
func (m *machine) imagesOn(node string, list ...cluster.Image) {
	m.t.Helper()
	data, err := json.Marshal(list)
	if err == nil {
		err = os.WriteFile(filepath.Join(m.env.Home.Cluster("kl").NodeDir(node), clustertest.ImagesFile), data, 0o600)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func TestImageList(t *testing.T) {
	m := newMachine(t)
	m.must("up", "--nodes", "2")
	if _, stderr, code := m.run("image", "ls"); code != exitOK || stderr != "Cluster kl has no images.\n" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	id := func(s string) string { return "sha256:" + strings.Repeat(s, 32) }
	pause := cluster.Image{Names: []string{cluster.PauseImage}, Config: id("11"), Size: 700_000, Source: "part of kl"}
	app := cluster.Image{
		Names: []string{"docker.io/library/app:1", "docker.io/library/app@" + id("dd")}, Config: id("22"), Size: 12_000_000, Source: "file app.tar",
		Uses: []cluster.ImageUse{{Pod: "default/web", Name: "app:1"}},
	}
	old := cluster.Image{Names: []string{"docker.io/library/app@" + id("ee")}, Config: id("33")}
	m.imagesOn("n1", pause, app, old)
	m.imagesOn("n2", pause)
	want := `NAME                      ID             SIZE    NODES   PODS   SOURCE
app:1                     222222222222   12 MB   n1      1      file app.tar
app@sha256:eeeeeeeeeeee   333333333333   -       n1      -      -
kl.local/pause:1          111111111111   1 MB    all     -      part of kl
`
	if d := cmp.Diff(want, m.must("image", "ls")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := m.must("image", "ls", "-o", "name"); got != "app:1\napp@sha256:eeeeeeeeeeee\nkl.local/pause:1\n" {
		t.Errorf("names are %q", got)
	}
	var list []host.ListedImage
	decode(t, m.must("image", "list", "-o", "json"), &list)
	if len(list) != 3 || list[0].Name != "docker.io/library/app:1" || list[0].ID != id("22") || len(list[0].Uses) != 1 || list[2].Nodes[1] != "n2" {
		t.Errorf("images are %+v", list)
	}
	if out := m.must("__complete", "image", "rm", ""); out != "app:1\napp@sha256:eeeeeeeeeeee\nkl.local/pause:1\n:4\n" {
		t.Errorf("completion is %q", out)
	}
	for args, want := range map[string]string{
		"image ls -o yaml":           "use text, json or name",
		"image rm":                   "requires at least 1 arg",
		"image rm app:1":             "kl: remove app:1: it is used by pod default/web\n    --force removes it all the same",
		"image rm ap:1":              "kl: remove ap:1: no node has such an image\n    did you mean app:1?\n",
		"image rm --force pause:1 ":  "no node has such an image",
		"image rm -f 1111":           "every pod needs it",
		"image rm --name other x":    "other",
		"image ls --name other":      "other",
		"image rm app@sha256:eeeeee": "",
	} {
		stdout, stderr, code := m.run(strings.Fields(args)...)
		if !strings.Contains(stderr, want) || (code == exitOK) != (want == "") {
			t.Errorf("kl %s: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	if out := m.must("image", "rm", "--force", "app:1"); out != "n1 removed app:1\n" {
		t.Errorf("%q", out)
	}
}

func TestImagePull(t *testing.T) {
	m := newMachine(t)
	m.must("up")
	m.imagesOn("n1", cluster.Image{Names: []string{"docker.io/library/app:1"}, Config: "sha256:1"}, cluster.Image{Names: []string{"docker.io/library/app:2"}, Config: "sha256:2"})
	answers := `{
"app:1": {"image": "docker.io/library/app:1", "source": "engine", "newLayers": 2}, "app:2": {"image": "docker.io/library/app:2", "source": "node"},
"docker.io/library/app:1": {"image": "docker.io/library/app:1", "source": "registry"}, "docker.io/library/app:2": {"image": "docker.io/library/app:2", "source": "node"},
"app:3": "it is nowhere\nat all"}`
	writeFile(t, m.env.Home.Cluster("kl").NodeDir("n1"), clustertest.PullsFile, answers)
	if out := m.must("image", "pull", "app:1", "app:2"); out != "n1 has app:1 from the container engine in 0.0 s (2 new layers)\nn1 already has app:2\n" {
		t.Errorf("pull: %q", out)
	}
	if out := m.must("image", "refresh"); out != "n1 has app:1 from kl's registry in 0.0 s (no new layer)\n" {
		t.Errorf("refresh: %q", out)
	}
	if out := m.must("image", "refresh", "app:2"); out != "No image has a newer build.\n" {
		t.Errorf("refresh app:2: %q", out)
	}
	var pulled []host.PulledImage
	decode(t, m.must("image", "refresh", "-o", "json"), &pulled)
	if len(pulled) != 1 || pulled[0].Source != "registry" || pulled[0].Node != "n1" {
		t.Errorf("refreshed: %+v", pulled)
	}
	if _, stderr, code := m.run("image", "pull", "app:3"); code != exitFailed || stderr != "kl: pull app:3 on node n1: it is nowhere\n" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
