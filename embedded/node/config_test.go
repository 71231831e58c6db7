package node

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster"
)

// testConfig is a node.json as kl writes it.
func testConfig() cluster.NodeConfig {
	return cluster.NodeConfig{
		Cluster: "kl", Name: "n1", Gateway: "10.245.0.1", APIPort: 16443,
		PodCIDR: "10.244.0.0/16", ServiceCIDR: "10.96.0.0/16", DNS: "10.96.0.10", Domain: "cluster.local", CNI: "kl",
	}
}

func TestParseConfig(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*cluster.NodeConfig)
		want   string // part of the error; empty if there is none
	}{
		{"as written by kl", func(*cluster.NodeConfig) {}, ""},
		{"no name", func(c *cluster.NodeConfig) { c.Name = "" }, "name"},
		{"no cluster", func(c *cluster.NodeConfig) { c.Cluster = "" }, "cluster: missing"},
		{"gateway is a name", func(c *cluster.NodeConfig) { c.Gateway = "gateway" }, `gateway: "gateway" is not an IPv4 address`},
		{"DNS is IPv6", func(c *cluster.NodeConfig) { c.DNS = "fd00::1" }, "dns"},
		{"pod range is an address", func(c *cluster.NodeConfig) { c.PodCIDR = "10.244.0.0" }, "podCIDR"},
		{"no service range", func(c *cluster.NodeConfig) { c.ServiceCIDR = "" }, "serviceCIDR"},
		{"port too high", func(c *cluster.NodeConfig) { c.APIPort = 65536 }, "apiPort"},
		{"unknown CNI", func(c *cluster.NodeConfig) { c.CNI = "flannel" }, "cni"},
		{"CNI of the user", func(c *cluster.NodeConfig) { c.CNI = "none" }, ""},
		{"negative size", func(c *cluster.NodeConfig) { c.MilliCPUs = -1 }, "negative"},
		{"taint without effect", func(c *cluster.NodeConfig) { c.Taints = []string{"a=b"} }, `"a=b" has no effect`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := testConfig()
			tt.change(&want)
			data, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parseConfig(data)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestParseConfigIsStrict(t *testing.T) {
	data, err := json.Marshal(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	for name, bad := range map[string]string{
		"unknown field": strings.Replace(good, `"cluster"`, `"clusters":1,"cluster"`, 1),
		"second one":    good + good,
		"cut short":     good[:len(good)-1],
		"wrong type":    strings.Replace(good, `16443`, `"16443"`, 1),
		"empty":         "",
	} {
		if _, err := parseConfig([]byte(bad)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestParseTaints(t *testing.T) {
	got, err := parseTaints([]string{"a=b:NoSchedule", "example.com/c:NoExecute", "d=:PreferNoSchedule"})
	if err != nil {
		t.Fatal(err)
	}
	want := []corev1.Taint{
		{Key: "a", Value: "b", Effect: corev1.TaintEffectNoSchedule},
		{Key: "example.com/c", Effect: corev1.TaintEffectNoExecute},
		{Key: "d", Effect: corev1.TaintEffectPreferNoSchedule},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"a", "a:Never", ":NoSchedule", "a b:NoSchedule", "a=b c:NoSchedule"} {
		if _, err := parseTaints([]string{bad}); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
