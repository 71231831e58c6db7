package clustertest_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
)

func TestFakeMeetsTheContract(t *testing.T) {
	fake := clustertest.NewFake()
	clustertest.Driver(t, clustertest.Subject{
		Connect:  func(*testing.T) cluster.Driver { return fake.Connect() },
		Payload:  cluster.Payload{SHA: "abc", Rootfs: t.TempDir()},
		Prefix:   "fake",
		Image:    fake.Image,
		Stranger: func(*testing.T) cluster.Driver { return fake.As("other") },
		Network: func(t *testing.T, name string) netip.Prefix {
			for line := range strings.Lines(fake.Dump()) {
				if text, ok := strings.CutPrefix(line, "network kl-"+name+" "); ok {
					return netip.MustParsePrefix(strings.TrimSpace(text))
				}
			}
			t.Fatalf("cluster %s has no network", name)
			return netip.Prefix{}
		},
		Residue: func(_ *testing.T, name string) string {
			var left strings.Builder
			for line := range strings.Lines(fake.Dump()) {
				if strings.Contains(line, " "+name+"/") || strings.Contains(line, "kl-"+name+" ") {
					left.WriteString(line)
				}
			}
			return left.String()
		},
	})
}

func TestFakeDump(t *testing.T) {
	ctx := t.Context()
	fake := clustertest.NewFake()
	fake.Hook = func(_ context.Context, op string, n cluster.Node) error {
		if op == "create" && n.Name == "n3" {
			return errors.New("no space left on device")
		}
		return nil
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		spec := cluster.NodeSpec{Cluster: "demo", Name: name, Payload: cluster.Payload{SHA: "abc"}, MilliCPUs: 500}
		if _, err := fake.Create(ctx, spec); (err != nil) != (name == "n3") {
			t.Fatalf("create %s: %v", name, err)
		}
	}
	n2 := cluster.Node{Cluster: "demo", Name: "n2"}
	if code, err := fake.Exec(ctx, n2, cluster.ExecSpec{Cmd: []string{"tee", "/var/a"}, Stdin: strings.NewReader("x")}); code != 0 || err != nil {
		t.Fatalf("tee: exit code %d, %v", code, err)
	}
	if err := fake.Stop(ctx, n2); err != nil {
		t.Fatal(err)
	}
	want := `image abc
network kl-demo 172.30.0.0/24
node demo/n1 Running 172.30.0.2 cpu=500m
node demo/n2 Stopped 172.30.0.3 cpu=500m
	file /var/a "x"
`
	if diff := cmp.Diff(want, fake.Dump()); diff != "" {
		t.Errorf("dump (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"create demo/n1", "create demo/n2", "exec demo/n2", "stop demo/n2"}, fake.History()); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}
