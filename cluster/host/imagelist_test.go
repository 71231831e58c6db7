package host_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
)

// imagesOn has a node of the bench's cluster have images.
func (b *bench) imagesOn(t *testing.T, node string, list ...cluster.Image) {
	t.Helper()
	data, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(b.Home.Cluster("demo").NodeDir(node), clustertest.ImagesFile), string(data))
}

func image(id, name string, uses ...cluster.ImageUse) cluster.Image {
	id = "sha256:" + strings.Repeat(id, 64/len(id))
	i := cluster.Image{Config: id, Digest: "sha256:" + strings.Repeat("d", 64), Size: 1_000_000, Uses: uses}
	if name != "" {
		i.Names = []string{name, name[:strings.LastIndex(name, ":")] + "@" + i.Digest}
	}
	return i
}

func TestListImages(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(3))
	web := cluster.ImageUse{Pod: "default/web", Name: "app:1"}
	b.imagesOn(t, "n1", image("aa", app, web), image("cc", "docker.io/library/base:1"))
	b.imagesOn(t, "n2", image("bb", app), image("cc", "docker.io/library/base:1"))
	b.imagesOn(t, "n3", image("aa", app, web, cluster.ImageUse{Pod: "default/api", Name: "app:1"}), image("ee", ""))
	must(t, b.fake.Stop(t.Context(), cluster.Node{Cluster: "demo", Name: "n2"}))
	for _, start := range []bool{false, true} {
		if start {
			must(t, b.fake.Start(t.Context(), cluster.Node{Cluster: "demo", Name: "n2"}))
		}
		list, err := b.ListImages(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range list.Images {
			line := i.Name + " " + i.ID[7:9] + " on " + strings.Join(i.Nodes, ",")
			for _, use := range i.Uses {
				line += " " + use.Pod
			}
			got = append(got, line)
		}
		want := []string{" ee on n3", app + " aa on n1,n3 default/web default/api", "docker.io/library/base:1 cc on n1"}
		absent := []string{"n2"}
		if start {
			want = []string{want[0], want[1], app + " bb on n2", "docker.io/library/base:1 cc on n1,n2"}
			absent = nil
		}
		if d := cmp.Diff(want, got) + cmp.Diff(absent, list.Absent); d != "" {
			t.Errorf("n2 runs: %t (-want +got):\n%s", start, d)
		}
	}
}

func TestRemoveImages(t *testing.T) {
	use := func(pod, name string) cluster.ImageUse { return cluster.ImageUse{Pod: pod, Name: name} }
	base := image("ba", "docker.io/library/base:1")
	both := image("aa", app, use("default/web", "base:1"))
	both.Names = append(both.Names, "docker.io/library/base:1")
	tests := []struct {
		name    string
		n1, n2  []cluster.Image
		remove  string
		force   bool
		want    string // the names that n1 and n2 remove
		err     string
		hinting string
	}{
		{"on both", []cluster.Image{image("aa", app)}, []cluster.Image{image("bb", app)}, "app:1", false, app + " | " + app, "", ""},
		{"on one", []cluster.Image{base}, []cluster.Image{image("bb", app)}, "app:1", false, " | " + app, "", ""},
		{"by ID", []cluster.Image{base}, []cluster.Image{image("bb", app)}, "bbbb", false, " | " + strings.Join(image("bb", app).Names, " "), "", ""},
		{"two", []cluster.Image{base, image("bb", app)}, nil, "base:1 app:1", false, "docker.io/library/base:1 " + app + " | ", "", ""},
		{"used on the other", []cluster.Image{image("aa", app)}, []cluster.Image{image("aa", app, use("b/web", "app:1"), use("a/web", "app:1"))}, "app:1", false, "", "it is used by pods a/web, b/web", "--force removes it"},
		{"used, and forced", []cluster.Image{image("aa", app, use("default/web", "app:1"))}, nil, "app:1", true, app + " | ", "", ""},
		{"used by an older name", []cluster.Image{image("aa", app, use("default/web", "app:0"))}, nil, "app:1", false, "", "it is used by pod default/web", ""},
		{"used by another name that stays", []cluster.Image{both}, nil, "app:1", false, app + " | ", "", ""},
		{"used by the name", []cluster.Image{both}, nil, "base:1", false, "", "it is used by pod default/web", ""},
		{"one of two is unknown", []cluster.Image{base}, nil, "base:1 app:1", false, "", "remove app:1: no node has such an image", "'kl image ls' lists"},
		{"another tag", []cluster.Image{image("aa", app)}, nil, "app", false, "", "remove app: no node", "did you mean app:1?"},
		{"misspelt", []cluster.Image{base, image("aa", app)}, nil, "bsae:1", false, "", "no node", "did you mean base:1?"},
		{"no name", nil, nil, "UPPER", false, "", "is not the name of an image", ""},
		{"part of kl", []cluster.Image{image("ff", cluster.PauseImage)}, nil, "kl.local/pause:1", true, "", "every pod needs it", ""},
		{"part of kl, by ID", []cluster.Image{image("ff", cluster.PauseImage)}, nil, "ffff", true, "", "every pod needs it", ""},
	}
	b := newBench(t)
	b.mustUp(t, request(2))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.imagesOn(t, "n1", tt.n1...)
			b.imagesOn(t, "n2", tt.n2...)
			_, err := b.RemoveImages(t.Context(), "demo", strings.Fields(tt.remove), tt.force)
			var hinted *cluster.Error
			switch {
			case tt.err == "" && err != nil:
				t.Fatal(err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint, tt.hinting)):
				t.Errorf("error is %v, hint %q", err, hinted)
			}
			var got []string
			for _, node := range []string{"n1", "n2"} {
				file := filepath.Join(b.Home.Cluster("demo").NodeDir(node), clustertest.DeleteFile)
				data, _ := os.ReadFile(file)
				os.Remove(file)
				got = append(got, strings.Join(strings.Fields(string(data)), " "))
			}
			want := tt.want
			if want == "" {
				want = " | "
			}
			if d := cmp.Diff(want, strings.Join(got, " | ")); d != "" {
				t.Errorf("removed (-want +got):\n%s", d)
			}
		})
	}
}
