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

// Rate limits of the components' clients, in requests a second. With upstream's defaults, meant for a shared API server,
// the default ServiceAccount appears after 8 seconds.
const (
	clientQPS   = 1000
	clientBurst = 2000
)

// args are the flags of a component, by name.
type args map[string]string

// with returns a copy with the extra arguments that the spec has for a component. They take precedence, but for lists that
// they add to. Those that are kl's alone are refused before they get here: see cluster.OwnFlags.
func (a args) with(spec cluster.Spec, component cluster.ComponentName) args {
	out := maps.Clone(a)
	for name, value := range spec.Kubernetes.ExtraArgs[string(component)] {
		if kls, ok := cluster.JoinedFlag(component, name); ok {
			value = cluster.Join(kls, value)
		}
		out[name] = value
	}
	delete(out, "v") // klog's verbosity is that of the process: see openLogs
	return out
}

// list returns the flags as command line arguments, sorted by name.
func (a args) list() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		list = append(list, "--"+name+"="+a[name])
	}
	return list
}

// parse sets the flags. The error, of an unknown or malformed flag, is permanent.
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

// setFeatureGates sets the feature gates of the process: the API server, the controller manager and the scheduler share one
// registry. Gates that none of them knows are an error, as upstream.
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
