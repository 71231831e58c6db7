package node

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	proxyapp "k8s.io/kubernetes/cmd/kube-proxy/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"

	"github.com/klkube/kl/cluster"
)

// Each field of the kubelet's configuration that kl sets, and each flag of kube-proxy, is one that kl.yaml may not set, or
// one that it may: the latter are listed here. What is refused must exist.
func TestOwnFlags(t *testing.T) {
	config, err := decodeTest(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	kubelet := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	options.NewKubeletFlags().AddFlags(kubelet)
	options.AddKubeletConfigFlags(kubelet, config)
	proxy := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	proxyapp.NewOptions().AddFlags(proxy)
	for component, known := range map[cluster.ComponentName]*pflag.FlagSet{cluster.Kubelet: kubelet, cluster.KubeProxy: proxy} {
		for name := range cluster.OwnFlags(component) {
			if known.Lookup(name) == nil {
				t.Errorf("%s: --%s is refused, but is no flag", component, name)
			}
		}
	}
	own := cluster.OwnFlags(cluster.KubeProxy)
	for name := range proxyFlags(cluster.NodeConfig{}) {
		if _, ok := own[name]; !ok && name != "conntrack-max-per-core" {
			t.Errorf("kube-proxy: kl sets --%s, which is neither refused nor listed as free", name)
		}
	}
	checkOwnFields(t)
}

func checkOwnFields(t *testing.T) {
	t.Helper()
	own := cluster.OwnKubeletFields()
	for field := range own {
		if !hasField(reflect.TypeFor[kubeletv1beta1.KubeletConfiguration](), strings.Split(field, ".")) {
			t.Errorf("field %s is refused, but does not exist", field)
		}
	}
	k, err := kubeletConfiguration(cluster.NodeConfig{DNS: "10.96.0.10", Domain: "cluster.local", Taints: []string{"a=b:NoSchedule"}}, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	free := strings.Fields("podPidsLimit seccompDefault evictionHard imageGCHighThresholdPercent imageMaximumGCAge nodeStatusUpdateFrequency nodeStatusReportFrequency failSwapOn logging authentication.webhook.cacheTTL authorization.webhook podPidsLimit seccompDefault tlsMinVersion tlsCipherSuites enableProfilingHandler")
	data, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	var visit func(value any, path string)
	visit = func(value any, path string) {
		_, refused := own[path]
		fields, nested := value.(map[string]any)
		switch {
		case refused, slices.Contains(free, path):
		case nested:
			for name, v := range fields {
				visit(v, strings.TrimPrefix(path+"."+name, "."))
			}
		case value == "0s", value == nil: // a default that the encoder writes
		default:
			t.Errorf("kl sets field %s, which is neither refused nor listed as free", path)
		}
	}
	visit(fields, "")
}

func hasField(t reflect.Type, path []string) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && hasField(f.Type, path):
			return true
		case name == path[0]:
			return len(path) == 1 || hasField(f.Type, path[1:])
		}
	}
	return false
}
