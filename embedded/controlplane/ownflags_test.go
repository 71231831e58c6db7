package controlplane

import (
	"flag"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	cliflag "k8s.io/component-base/cli/flag"
	apiServerOptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllersOptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	schedulerOptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/klkube/kl/cluster"
)

// A list of kl's is added to, and keeps what kl has in it.
func TestArgsAreJoined(t *testing.T) {
	spec := cluster.Spec{Kubernetes: cluster.Kubernetes{ExtraArgs: map[string]map[string]string{
		string(cluster.KubeAPIServer): {"enable-admission-plugins": "PodNodeSelector"},
	}}}
	got := (&apiServer{spec: spec}).args().with(spec, cluster.KubeAPIServer)["enable-admission-plugins"]
	if want := (&apiServer{spec: spec}).args()["enable-admission-plugins"] + ",PodNodeSelector"; got != want {
		t.Errorf("enable-admission-plugins = %q, want %q", got, want)
	}
}

// Each flag that kl sets is one that extraArgs may not set, may add to, or may set: the last are listed here. A flag that is
// refused must exist.
func TestOwnFlags(t *testing.T) {
	tunable := map[cluster.ComponentName]string{
		cluster.KubeAPIServer: "service-account-issuer allow-privileged audit-policy-file audit-log-mode audit-log-maxage audit-log-maxsize " +
			"audit-log-maxbackup audit-log-batch-max-wait tls-min-version tls-cipher-suites profiling " +
			"service-account-extend-token-expiration service-account-max-token-expiration watch-cache-sizes",
		cluster.KubeControllerManager: "kube-api-qps kube-api-burst node-monitor-period terminated-pod-gc-threshold",
		cluster.KubeScheduler:         "kube-api-qps kube-api-burst",
	}
	managers, err := controllersOptions.NewKubeControllerManagerOptions()
	if err != nil {
		t.Fatal(err)
	}
	etcdFlags := flag.NewFlagSet("etcd", flag.ContinueOnError)
	embed.NewConfig().AddFlags(etcdFlags)
	spec := cluster.DefaultSpec()
	spec.Kubernetes.RuntimeConfig = map[string]string{"api/all": "true"}
	with := spec
	with.Kubernetes.Scheduler = "/config"
	for _, c := range []struct {
		name  cluster.ComponentName
		sets  []args
		known cliflag.NamedFlagSets
	}{
		{cluster.KubeAPIServer, []args{(&apiServer{spec: spec}).args()}, apiServerOptions.NewServerRunOptions().Flags()},
		{cluster.KubeControllerManager, []args{(&controllers{spec: spec}).args()}, managers.Flags(nil, nil, nil)},
		{cluster.KubeScheduler, []args{(&scheduler{spec: spec}).args(), (&scheduler{spec: with}).args()}, *schedulerOptions.NewOptions().Flags},
		{cluster.Etcd, nil, cliflag.NamedFlagSets{FlagSets: map[string]*pflag.FlagSet{"": goFlags(etcdFlags)}}},
	} {
		own := cluster.OwnFlags(c.name)
		for _, set := range c.sets {
			for name, value := range set {
				kls, joined := cluster.JoinedFlag(c.name, name)
				if _, ok := own[name]; !ok && !joined && !slices.Contains(strings.Fields(tunable[c.name]), name) {
					t.Errorf("%s: kl sets --%s, which is neither refused nor listed as free", c.name, name)
				}
				if joined && value != strings.Join(kls, ",") {
					t.Errorf("%s: --%s is %q, cluster.JoinedFlag says %q", c.name, name, value, kls)
				}
			}
		}
		for name, instead := range own {
			if instead == "" || !slices.ContainsFunc(slices.Collect(maps.Values(c.known.FlagSets)), func(fs *pflag.FlagSet) bool { return fs.Lookup(name) != nil }) {
				t.Errorf("%s: --%s is refused (%q), but is no flag", c.name, name, instead)
			}
		}
	}
}

func goFlags(fs *flag.FlagSet) *pflag.FlagSet {
	out := pflag.NewFlagSet("", pflag.ContinueOnError)
	out.AddGoFlagSet(fs)
	return out
}
