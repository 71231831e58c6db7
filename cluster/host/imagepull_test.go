package host_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
)

// pulls has a node answer pulls of images by name: with a source, or a reason.
func (b *bench) pulls(t *testing.T, node string, answers map[string]string) {
	t.Helper()
	var lines []string
	for name, answer := range answers {
		text := fmt.Sprintf("%q", answer)
		if source, ok := strings.CutPrefix(answer, "from "); ok {
			text = fmt.Sprintf(`{"image":%q,"source":%q,"id":"sha256:1","newLayers":1}`, name, source)
		}
		lines = append(lines, fmt.Sprintf("%q: %s", name, text))
	}
	write(t, filepath.Join(b.Home.Cluster("demo").NodeDir(node), clustertest.PullsFile), "{"+strings.Join(lines, ",")+"}")
}

func lines(pulled []host.PulledImage) string {
	var got []string
	for _, p := range pulled {
		got = append(got, p.Node+" "+p.Image+" "+p.Source)
	}
	return strings.Join(got, "\n")
}

func TestPullImages(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	if _, err := b.PullImages(t.Context(), "demo", []string{app}, nil); err == nil || !strings.Contains(err.Error(), "pull app:1 on node n1: the node is of an older kl") {
		t.Errorf("an old node: %v", err)
	}
	b.pulls(t, "n1", map[string]string{app: "from engine", "other": "it is not in the container engine, nor in kl's registry"})
	b.pulls(t, "n2", map[string]string{app: "from node"})
	shown := 0
	pulled, err := b.PullImages(t.Context(), "demo", []string{app}, func(host.PulledImage) { shown++ })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("n1 "+app+" engine\nn2 "+app+" node", lines(pulled)); d != "" || shown != 2 {
		t.Errorf("shown %d (-want +got):\n%s", shown, d)
	}
	for text, want := range map[string]string{
		"other": "pull other on node n1: it is not in the container engine, nor in kl's registry", "UPPER": "is not the name of an image",
	} {
		if _, err := b.PullImages(t.Context(), "demo", []string{text}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestRefreshImages(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	base, pause := "docker.io/library/base:1", image("ff", cluster.PauseImage)
	b.imagesOn(t, "n1", image("aa", app), image("ba", base), pause)
	b.imagesOn(t, "n2", image("aa", app), pause)
	b.pulls(t, "n1", map[string]string{app: "from registry", base: "nowhere else"})
	b.pulls(t, "n2", map[string]string{app: "from node"})
	for args, want := range map[string]string{
		"":         "n1 " + app + " registry\nn2 " + app + " node",
		"app:1":    "n1 " + app + " registry\nn2 " + app + " node",
		"base:1":   "",
		"babababa": "",
	} {
		pulled, err := b.RefreshImages(t.Context(), "demo", strings.Fields(args), nil)
		if err != nil {
			t.Errorf("%q: %v", args, err)
		}
		if d := cmp.Diff(want, lines(pulled)); d != "" {
			t.Errorf("%q (-want +got):\n%s", args, d)
		}
	}
	if _, err := b.RefreshImages(t.Context(), "demo", []string{"app:1", "app:2"}, nil); err == nil || !strings.Contains(err.Error(), "refresh app:2: no node has such an image") {
		t.Errorf("unknown: %v", err)
	}
}
