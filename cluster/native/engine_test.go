//go:build linux

package native

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEngineMounts(t *testing.T) {
	root := filepath.Join(t.TempDir(), "docker")
	for _, dir := range []string{"image", "overlay2", "containerd/daemon/io.containerd.content.v1.content"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(config, []byte(`{"data-root": "`+root+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range engineMounts(config) {
		got[m.Destination] = m.Source
		if diff := cmp.Diff([]string{"bind", "ro", "rprivate"}, m.Options); diff != "" {
			t.Errorf("options of %s (-want +got):\n%s", m.Destination, diff)
		}
	}
	want := map[string]string{
		"/kl/engine/image": root + "/image", "/kl/engine/overlay2": root + "/overlay2",
		"/kl/engine/content": root + "/containerd/daemon/io.containerd.content.v1.content",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"{", `{"data-root": "relative"}`} {
		if err := os.WriteFile(config, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, m := range engineMounts(config) {
			if m.Source == "" || !filepath.IsAbs(m.Source) {
				t.Errorf("with %s a node gets %+v", bad, m)
			}
		}
	}
}
