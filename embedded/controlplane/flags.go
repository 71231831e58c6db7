package controlplane

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/util/compatibility"
	cliflag "k8s.io/component-base/cli/flag"
	utilversion "k8s.io/component-base/version"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// The client limits of components that talk to their own API server: upstream's defaults are meant for a shared one, and
// make the default ServiceAccount appear after 8 seconds.
const (
	clientQPS   = 1000
	clientBurst = 2000
)

// args are a component's flags.
type args map[string]string

// with returns a with the flags that the spec adds for a component: what the user says wins.
func (a args) with(spec cluster.Spec, component cluster.ComponentName) args {
	out := maps.Clone(a)
	maps.Copy(out, spec.Kubernetes.ExtraArgs[string(component)])
	delete(out, "v") // klog's, and the whole process's: see openLogs
	return out
}

// list is the flags as a command line, sorted by name.
func (a args) list() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		list = append(list, "--"+name+"="+a[name])
	}
	return list
}

// parse sets the flags; an unknown or badly formed one is an error that no restart cures.
func (a args) parse(component cluster.ComponentName, sets cliflag.NamedFlagSets) error {
	fs := pflag.NewFlagSet(string(component), pflag.ContinueOnError)
	for _, f := range sets.FlagSets {
		fs.AddFlagSet(f)
	}
	if err := fs.Parse(a.list()); err != nil {
		return lifecycle.Permanent(fmt.Errorf("set flags: %w", err))
	}
	return nil
}

// setFeatureGates sets the gates once, for the API server, the controller manager and the scheduler alike: they live in
// one process and share one registry. Gates that only other components know are refused, as upstream does.
func setFeatureGates(spec cluster.Spec) error {
	registry := compatibility.DefaultComponentGlobalsRegistry
	fs := pflag.NewFlagSet("feature gates", pflag.ContinueOnError)
	registry.AddFlags(fs)
	var gates []string
	for _, name := range slices.Sorted(maps.Keys(spec.Kubernetes.FeatureGates)) {
		gates = append(gates, name+"="+strconv.FormatBool(spec.Kubernetes.FeatureGates[name]))
	}
	if len(gates) > 0 {
		if err := fs.Parse([]string{"--feature-gates=" + strings.Join(gates, ",")}); err != nil {
			return fmt.Errorf("set feature gates: %w", err)
		}
	}
	if err := registry.Set(); err != nil {
		return fmt.Errorf("set feature gates: %w", err)
	}
	return nil
}

func kubernetesVersion() string { return utilversion.Get().GitVersion }
