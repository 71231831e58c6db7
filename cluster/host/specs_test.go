package host_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
	"github.com/klkube/kl/cluster/host"
)

// Whatever a valid file asks for can be brought up again, stopped and started, and stays as it was asked for.
func TestValidSpecsSurvive(t *testing.T) {
	files, err := filepath.Glob("../../testdata/spec/valid-*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %d valid files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := config.Parse(file, data, config.Machine{})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range spec.Files() {
				if *f == "/tmp" { // which exists everywhere, but is no file
					*f = file
				}
			}
			if spec.Encryption.Provider == cluster.EncryptionKMS {
				spec.Encryption.KMS.Endpoint = "unix://" + plugin(t)
			}
			survives(t, spec)
		})
	}
}

// plugin returns a socket that is listened on.
func plugin(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kms") // short: socket paths are limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return socket
}

// A new cluster whose objects nothing could encrypt is not made.
func TestUpWithoutPlugin(t *testing.T) {
	b := newBench(t)
	s := request(1)
	s.Encryption = cluster.Encryption{Provider: cluster.EncryptionKMS, KMS: cluster.KMS{Name: "vault", Endpoint: "unix:///nowhere.sock"}}
	_, err := b.Up(t.Context(), s, host.UpOptions{Timeout: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "reach KMS plugin vault: ") {
		t.Errorf("up: %v", err)
	}
	if names, err := b.Home.Names(); err != nil || len(names) > 0 {
		t.Errorf("there are clusters %v, %v", names, err)
	}
}

func survives(t *testing.T, spec cluster.Spec) {
	t.Helper()
	b := newBench(t)
	b.Simulate = func(context.Context, cluster.Layout, cluster.Spec, func(done, of int)) error { return nil }
	spec.Name = "demo"
	o := host.UpOptions{Timeout: time.Minute, NoWait: spec.SimulatedCount() > 0}
	l := b.Home.Cluster("demo")
	var first cluster.Spec
	for i, step := range []struct {
		name string
		run  func() error
	}{
		{"up -f", func() error { _, err := b.Apply(t.Context(), spec, o); return err }},
		{"up -f again", func() error { _, err := b.Apply(t.Context(), spec, o); return err }},
		{"up", func() error { _, err := b.Up(t.Context(), cluster.Spec{Name: "demo"}, o); return err }},
		{"stop", func() error { return b.Stop(t.Context(), "demo") }},
		{"start", func() error { _, err := b.Start(t.Context(), "demo", o); return err }},
		{"up -f after all", func() error { _, err := b.Apply(t.Context(), spec, o); return err }},
	} {
		if err := step.run(); err != nil {
			t.Fatalf("%s: %s", step.name, describe(err))
		}
		have, err := cluster.ReadSpec(l)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if i == 0 {
			first = have
			if have.NodeCount() != spec.NodeCount() || have.SimulatedCount() != spec.SimulatedCount() {
				t.Fatalf("%d nodes were asked for, cluster.yaml has %+v", spec.NodeCount(), have.Nodes)
			}
		}
		if diff := cmp.Diff(first, have); diff != "" {
			t.Errorf("%s changed cluster.yaml (-first +now):\n%s", step.name, diff)
		}
	}
	nodes, err := b.fake.List(t.Context(), "demo")
	if err != nil || len(nodes) != spec.NodeCount() || slices.ContainsFunc(nodes, func(n cluster.Node) bool { return n.State != cluster.NodeRunning }) {
		t.Errorf("nodes are %+v, %v", nodes, err)
	}
}
