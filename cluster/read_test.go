package cluster_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

// FuzzReadState checks that whatever is in a cluster's files is read, or answered by one line that names the file.
func FuzzReadState(f *testing.F) {
	f.Add([]byte("apiVersion: kl.dev/v1alpha1\nkind: Cluster\nname: demo\nkubernetes:\n  apiServerPort: 20443\n"))
	f.Add([]byte(`{"pid":7,"boot":"x","state":"GaveUp","crashes":{"count":2,"inARow":2,"last":{"time":"2026-01-01T00:00:00Z","reason":"killed"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := cluster.Home(t.TempDir()).Cluster("demo")
		for _, path := range []string{l.SpecFile(), l.SupervisorFile()} {
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := cluster.ReadSpec(l)
		if err != nil && (!strings.Contains(err.Error(), l.SpecFile()) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("spec: %q", err)
		}
		s, alive, err := cluster.ReadSupervision(l)
		if err != nil || alive {
			t.Errorf("supervision: alive is %v, %v", alive, err)
		}
		if phase, _ := s.Down(alive); phase == "" {
			t.Error("no phase")
		}
	})
}

// A cluster without its cluster.yaml is damaged, not missing.
func TestReadSpecOfWhatIsLeft(t *testing.T) {
	l := cluster.Home(t.TempDir()).Cluster("demo")
	if _, err := cluster.ReadSpec(l); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "find cluster demo") {
		t.Errorf("no cluster: %v", err)
	}
	if err := os.MkdirAll(l.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.ReadSpec(l); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), l.SpecFile()) {
		t.Errorf("no cluster.yaml: %v", err)
	}
}
