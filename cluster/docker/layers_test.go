package docker_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

// An engine elsewhere has shared layers in a volume of its own, which goes with the last node of the home.
func TestLayersOfAnEngineElsewhere(t *testing.T) {
	volume := "kl-layers-" + home().Owner()
	for name, test := range map[string]struct {
		root    string
		removal int // what the engine answers
		want    string
		fails   bool
	}{
		"here":                            {t.TempDir(), 500, "bind /l", false},
		"elsewhere":                       {"/not/on/this/machine", 204, "volume " + volume, false},
		"elsewhere, and another node":     {"/not/on/this/machine", 409, "volume " + volume, false},
		"elsewhere, and it was removed":   {"/not/on/this/machine", 404, "volume " + volume, false},
		"elsewhere, and removal is wrong": {"/not/on/this/machine", 500, "volume " + volume, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeEngine{version: "1.41", info: full("1"), volume: test.removal}
			f.info.DockerRootDir = test.root
			d, err := f.serve(t)
			if err != nil {
				t.Fatal(err)
			}
			s := spec(t)
			s.LayersDir = "/l"
			n, err := d.Create(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			c := f.containers["c-n1"]
			got := ""
			for _, m := range c.HostConfig.Mounts {
				if m.Target == cluster.LayersMountDir {
					got = string(m.Type) + " " + m.Source
				}
			}
			if got != test.want {
				t.Errorf("layers are in %q, want %q", got, test.want)
			}
			if err := d.Delete(t.Context(), n); (err != nil) != test.fails {
				t.Errorf("delete: %v", err)
			}
			removed := slices.ContainsFunc(f.calls, func(call string) bool { return strings.HasPrefix(call, "DELETE /volumes/"+volume) })
			if elsewhere := strings.HasPrefix(test.want, "volume"); removed != elsewhere {
				t.Errorf("whether the engine was asked to remove the volume is %v", removed)
			}
		})
	}
}
