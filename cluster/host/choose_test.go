package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster/host"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
)

// TestAutoDriverIsExplained holds that a cluster tells which driver it has, and why.
func TestAutoDriverIsExplained(t *testing.T) {
	for _, tt := range []struct {
		name   string
		driver cluster.DriverName
		nodes  int
		broken []cluster.DriverName
		why    []string // none: nothing to explain
	}{
		{"first", "auto", 1, nil, []string{"auto", "first"}},
		{"second", "auto", 1, []cluster.DriverName{"docker"}, []string{"auto", "not docker: docker is broken"}},
		{"asked for", "docker", 1, nil, nil},
		{"no nodes", "auto", 0, []cluster.DriverName{"docker", "embedded"}, []string{"auto", "no real nodes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.OpenDriver = opener(b.fake, tt.broken...)
			spec := request(tt.nodes)
			spec.Driver = tt.driver
			if _, err := b.Up(t.Context(), spec, host.UpOptions{}); err != nil {
				t.Fatal(err)
			}
			b.OpenDriver = opener(b.fake) // which is called docker, whatever opened it
			info, err := b.Inspect(t.Context(), "demo")
			if err != nil {
				t.Fatal(err)
			}
			if (info.DriverWhy == "") != (tt.why == nil) {
				t.Errorf("reason is %q", info.DriverWhy)
			}
			for _, want := range tt.why {
				if !strings.Contains(info.DriverWhy, want) {
					t.Errorf("reason %q does not say %q", info.DriverWhy, want)
				}
			}
		})
	}
}

func TestNoDriverNamesBothWaysOut(t *testing.T) {
	b := newBench(t)
	b.OpenDriver = opener(b.fake, "docker", "embedded")
	_, err := b.Up(t.Context(), request(1), host.UpOptions{})
	if !errors.Is(err, cluster.ErrNoEngine) || !strings.Contains(err.Error(), "docker is broken") || !strings.Contains(err.Error(), "embedded is broken") {
		t.Errorf("error is %v", err)
	}
	var ce *cluster.Error
	if !errors.As(err, &ce) || !strings.Contains(ce.Hint, "Docker") || !strings.Contains(ce.Hint, "root") {
		t.Errorf("the hint does not name both ways out: %v", ce)
	}
}

// opener opens a fake under any name but those of broken drivers.
func opener(fake *clustertest.Fake, broken ...cluster.DriverName) func(context.Context, cluster.DriverName) (cluster.Driver, error) {
	return func(_ context.Context, name cluster.DriverName) (cluster.Driver, error) {
		for _, b := range broken {
			if b == name {
				return nil, fmt.Errorf("%s is broken", name)
			}
		}
		return fake, nil
	}
}
