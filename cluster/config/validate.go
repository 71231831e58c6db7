package config

import (
	"fmt"
	"math"
	"net/netip"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/klkube/kl/cluster"
)

// The values that some fields are limited to.
func drivers() []string  { return words(cluster.DriverNames()) }
func features() []string { return words(cluster.Features()) }

func words[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

func effects() []string { return []string{"NoSchedule", "PreferNoSchedule", "NoExecute"} }

// Components are the programs Kubernetes.ExtraArgs may name.
func Components() []string {
	return []string{
		string(cluster.Etcd), string(cluster.KubeAPIServer), string(cluster.KubeControllerManager), string(cluster.KubeScheduler),
		string(cluster.Kubelet), string(cluster.KubeProxy),
	}
}

const (
	maxNodes     = 250   // of the /24 ranges in a /16, and more than one machine can run
	maxSimulated = 20000 // what one etcd can hold
)

// validator collects what is wrong with the meaning of a Spec.
type validator struct {
	w *walker
	m Machine
}

func (v *validator) bad(path, format string, args ...any) {
	v.w.add(v.w.positions[path], path, format, args...)
}

func validate(s cluster.Spec, m Machine, w *walker) Problems {
	v := &validator{w: w, m: m}
	v.header(s)
	v.networking(s.Networking)
	v.nodes(s)
	v.kubernetes(s)
	v.encryption(s.Encryption)
	v.audit(s)
	files := s.Files()
	for _, path := range sortedKeys(files) {
		v.file(path, *files[path])
	}
	for _, host := range sortedKeys(s.Containerd.Mirrors) {
		v.mirror("containerd.mirrors."+host, host, s.Containerd.Mirrors[host])
	}
	v.registries(s.Registries)
	for i, d := range s.Disable {
		v.oneOf(fmt.Sprintf("disable[%d]", i), string(d), features())
	}
	return w.problems
}

func (v *validator) header(s cluster.Spec) {
	if s.APIVersion != cluster.APIVersion {
		v.bad("apiVersion", "want %s, found %q", cluster.APIVersion, s.APIVersion)
	}
	if s.Kind != cluster.Kind {
		v.bad("kind", "want %s, found %q", cluster.Kind, s.Kind)
	}
	if msgs := validation.IsDNS1123Label(s.Name); len(msgs) > 0 || len(s.Name) > 32 {
		v.bad("name", "%q is not a name: use at most 32 of a-z, 0-9 and -, beginning and ending with a letter or digit", s.Name)
	}
	v.oneOf("driver", string(s.Driver), drivers())
}

func (v *validator) oneOf(path, word string, words []string) {
	if slices.Contains(words, word) {
		return
	}
	hint := "use one of " + strings.Join(words, ", ")
	if n := Nearest(word, words); n != "" {
		hint = fmt.Sprintf("did you mean %q?", n)
	}
	v.bad(path, "%q is not known; %s", word, hint)
}

func (v *validator) networking(n cluster.Networking) {
	pods, podsOK := v.prefix("networking.podCIDR", n.PodCIDR, 8, 23)
	services, servicesOK := v.prefix("networking.serviceCIDR", n.ServiceCIDR, 12, 28)
	if podsOK && servicesOK && pods.Overlaps(services) {
		if v.w.positions["networking.serviceCIDR"] == nil { // a default: the field that was set is at fault
			v.bad("networking.podCIDR", "%s overlaps serviceCIDR %s", pods, services)
		} else {
			v.bad("networking.serviceCIDR", "%s overlaps podCIDR %s", services, pods)
		}
	}
	if gw, ok := v.address("networking.gateway", n.Gateway); ok {
		if podsOK && pods.Contains(gw) {
			v.bad("networking.gateway", "%s lies in podCIDR %s: take an address outside", gw, pods)
		}
		if servicesOK && services.Contains(gw) {
			v.bad("networking.gateway", "%s lies in serviceCIDR %s: take an address outside", gw, services)
		}
	}
	if dns, ok := v.address("networking.dns", n.DNS); ok && servicesOK {
		switch {
		case !services.Contains(dns):
			v.bad("networking.dns", "%s lies outside serviceCIDR %s: the DNS Service needs an address of it", dns, services)
		case dns == services.Masked().Addr().Next():
			v.bad("networking.dns", "%s is the address of the kubernetes Service", dns)
		}
	}
	v.oneOf("networking.cni", n.CNI, []string{"kl", "none"})
}

func (v *validator) prefix(path, s string, minBits, maxBits int) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || !p.Addr().Is4():
		v.bad(path, "%q is not an IPv4 range: write it like 10.244.0.0/16", s)
	case p != p.Masked():
		v.bad(path, "%s has host bits set: did you mean %s?", s, p.Masked())
	case p.Bits() < minBits || p.Bits() > maxBits:
		v.bad(path, "/%d is out of range: use /%d to /%d", p.Bits(), minBits, maxBits)
	default:
		return p, true
	}
	return netip.Prefix{}, false
}

func (v *validator) address(path, s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		v.bad(path, "%q is not an IPv4 address", s)
		return netip.Addr{}, false
	}
	return a, true
}

func (v *validator) nodes(s cluster.Spec) {
	real, simulated := 0, 0
	ports, names := newPorts(s.Kubernetes), map[string]string{}
	for i, g := range s.Nodes {
		path := fmt.Sprintf("nodes[%d]", i)
		v.group(path, g)
		v.names(path, g, names)
		if g.Simulated {
			simulated += max(g.Count, 0)
		} else {
			real += max(g.Count, 0)
		}
		for j, p := range g.Ports {
			v.port(fmt.Sprintf("%s.ports[%d]", path, j), g, p, ports)
		}
	}
	if real > maxNodes {
		v.bad("nodes", "%d nodes are more than the %d that one machine bears: make some of them simulated", real, maxNodes)
	}
	if simulated > maxSimulated {
		v.bad("nodes", "%d simulated nodes are more than the %d that are supported", simulated, maxSimulated)
	}
	if p, err := netip.ParsePrefix(s.Networking.PodCIDR); err == nil && p.Bits() <= 24 {
		if ranges := 1 << (24 - p.Bits()); real > ranges { // simulated nodes have no pod range
			v.bad("networking.podCIDR", "%s holds %d ranges of /24, one a node, but %d nodes are asked for", p, ranges, real)
		}
	}
	if s.Driver == cluster.DriverSimulated && real > 0 {
		v.bad("driver", "driver simulated makes no real nodes, but %d are asked for: set simulated: true on them", real)
	}
}

func (v *validator) group(path string, g cluster.NodeGroup) {
	if g.Count < 0 {
		v.bad(path+".count", "%d is negative", g.Count)
	}
	v.quantity(path+".cpus", g.CPUs, resource.NewQuantity(int64(v.m.CPUs), resource.DecimalSI), g.Simulated)
	v.quantity(path+".memory", g.Memory, resource.NewQuantity(v.m.Memory, resource.BinarySI), g.Simulated)
	for _, k := range sortedKeys(g.Labels) {
		if msgs := validation.IsQualifiedName(k); len(msgs) > 0 {
			v.bad(path+".labels."+k, "%q is not a label name: %s", k, msgs[0])
		}
		if msgs := validation.IsValidLabelValue(g.Labels[k]); len(msgs) > 0 {
			v.bad(path+".labels."+k, "%q is not a label value: %s", g.Labels[k], msgs[0])
		}
	}
	for i, t := range g.Taints {
		v.taint(fmt.Sprintf("%s.taints[%d]", path, i), t)
	}
	targets := map[string]bool{}
	for i, m := range g.Mounts {
		v.mount(fmt.Sprintf("%s.mounts[%d]", path, i), m, targets)
	}
	if g.Simulated && len(g.Mounts)+len(g.Ports) > 0 {
		v.bad(path, "simulated nodes have no files and no ports: remove mounts and ports")
	}
}

// names checks the names of a group's nodes; taken maps the names of earlier groups to their positions.
func (v *validator) names(path string, g cluster.NodeGroup, taken map[string]string) {
	if len(g.Names) > g.Count {
		v.bad(path+".names", "%d names for %d nodes", len(g.Names), g.Count)
	}
	if g.Simulated && len(g.Names) > 0 {
		v.bad(path+".names", "simulated nodes are named sim-1, sim-2, …: remove the names")
	}
	for i, name := range g.Names {
		at := fmt.Sprintf("%s.names[%d]", path, i)
		if msgs := validation.IsDNS1123Label(name); len(msgs) > 0 {
			v.bad(at, "%q is not a node name: use a-z, 0-9 and -, beginning and ending with a letter or digit", name)
		}
		if first, ok := taken[name]; ok {
			v.bad(at, "%q stands twice, first as %s", name, first)
			continue
		}
		taken[name] = at
	}
}

// quantity checks a capacity; limit is what the machine has, 0 if unknown. Quantities are compared as such: as a number, one
// that is too large would wrap around.
func (v *validator) quantity(path, s string, limit *resource.Quantity, simulated bool) {
	if s == "" {
		return
	}
	q, err := resource.Quantity{}, resource.ErrFormatWrong
	if len(s) <= 32 && !endlessExponent(s) {
		q, err = resource.ParseQuantity(s)
	}
	switch {
	case err != nil:
		v.bad(path, "%q is not a quantity: write 2, 500m, 512Mi or 4Gi", s)
	case q.Sign() <= 0:
		v.bad(path, "%s must be greater than zero", s)
	case !simulated && limit.Sign() > 0 && q.Cmp(*limit) > 0:
		v.bad(path, "%s is more than this machine has (%s)", s, v.has(path))
	case q.CmpInt64(math.MaxInt64/1000) > 0: // Kubernetes counts in thousandths
		v.bad(path, "%s is more than Kubernetes can count", s)
	}
}

// endlessExponent reports whether a number is written with an exponent of three digits or more: apimachinery writes such a
// number out, which takes seconds to forever.
func endlessExponent(s string) bool {
	at := strings.LastIndexAny(s, "eE")
	return at >= 0 && len(strings.Trim(s[at+1:], "+-")) > 2
}

func (v *validator) has(path string) string {
	if strings.HasSuffix(path, ".cpus") {
		return fmt.Sprintf("%d processors", v.m.CPUs)
	}
	return fmt.Sprintf("%.1fGi", float64(v.m.Memory)/(1<<30))
}

func (v *validator) taint(path, t string) {
	kv, effect, ok := strings.Cut(t, ":")
	key, value, _ := strings.Cut(kv, "=")
	switch {
	case !ok:
		v.bad(path, "%q has no effect: write key[=value]:NoSchedule", t)
	case len(validation.IsQualifiedName(key)) > 0:
		v.bad(path, "%q is not a taint key", key)
	case len(validation.IsValidLabelValue(value)) > 0:
		v.bad(path, "%q is not a taint value", value)
	default:
		v.oneOf(path, effect, effects())
	}
}

func (v *validator) mount(p string, m cluster.Mount, targets map[string]bool) {
	if !path.IsAbs(m.Host) {
		v.bad(p+".host", "%q is not an absolute path", m.Host)
	} else {
		v.exists(p+".host", m.Host)
	}
	switch target := path.Clean(m.Node); {
	case !path.IsAbs(m.Node):
		v.bad(p+".node", "%q is not an absolute path", m.Node)
	case path.Dir(target) != cluster.DisksDir && (target == "/" || target == "/kl" || strings.HasPrefix(target, "/kl/")):
		v.bad(p+".node", "%s belongs to kl, except below %s", m.Node, cluster.DisksDir)
	case targets[target]:
		v.bad(p+".node", "%s is mounted twice", m.Node)
	default:
		targets[target] = true
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
