package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/klkube/kl/cluster"
)

// maxPods is how many addresses a node's /24 has for pods: all but the first, the last and that of the node's gateway.
const maxPods = 253

func (v *validator) kubernetes(s cluster.Spec) {
	k := s.Kubernetes
	if p := k.APIServerPort; p != 0 && (p < 1 || p > 65535) {
		v.bad("kubernetes.apiServerPort", "%d is not a port: use 1 to 65535", p)
	}
	for _, c := range sortedKeys(k.ExtraArgs) {
		v.oneOf("kubernetes.extraArgs."+c, c, Components())
		for _, flag := range sortedKeys(k.ExtraArgs[c]) {
			v.extraArg(cluster.ComponentName(c), flag, k.ExtraArgs[c][flag])
		}
	}
	own := cluster.OwnKubeletFields()
	for _, field := range sortedKeys(own) {
		if at := replaced(k.KubeletPatch, field); at != "" {
			v.bad("kubernetes.kubeletPatch."+at, "%s cannot be changed: %s", field, own[field])
		}
	}
	if s.Networking.CNI == cluster.DefaultSpec().Networking.CNI {
		v.maxPods("kubernetes.kubeletPatch.maxPods", k.KubeletPatch["maxPods"])
		v.maxPods("kubernetes.extraArgs.kubelet.max-pods", k.ExtraArgs[string(cluster.Kubelet)]["max-pods"])
	}
}

// extraArg refuses flags that take away what kl sets.
func (v *validator) extraArg(c cluster.ComponentName, flag, value string) {
	path := fmt.Sprintf("kubernetes.extraArgs.%s.%s", c, flag)
	if strings.HasPrefix(flag, "-") {
		v.bad(path, "write the flag without dashes: %s", strings.TrimLeft(flag, "-"))
		return
	}
	if instead, own := cluster.OwnFlags(c)[flag]; own {
		v.bad(path, "the flag cannot be set: %s", instead)
		return
	}
	if kls, joined := cluster.JoinedFlag(c, flag); joined {
		if item := cluster.Contradicts(kls, value); item != "" {
			v.bad(path, "%q takes away what kl sets: the list is added to %s", item, strings.Join(kls, ","))
		}
	}
	if on, ok := strings.CutPrefix(flag, "disable-"); ok {
		kls, _ := cluster.JoinedFlag(c, "enable-"+on)
		for _, item := range strings.Split(value, ",") {
			if slices.Contains(kls, strings.TrimSpace(item)) {
				v.bad(path, "%s cannot be turned off: kl needs it", strings.TrimSpace(item))
			}
		}
	}
}

// replaced returns the part of a patch that replaces a field: the field itself, or a level above with something else than
// fields in it, such as null; empty if the patch leaves the field alone.
func replaced(patch map[string]any, field string) (at string) {
	for name := range strings.SplitSeq(field, ".") {
		below, ok := patch[name]
		if !ok {
			return ""
		}
		at = join(at, name)
		if patch, ok = below.(map[string]any); !ok {
			return at
		}
	}
	return at
}

func (v *validator) maxPods(path string, value any) {
	var n float64
	switch value := value.(type) {
	case float64:
		n = value
	case string:
		i, err := strconv.ParseInt(value, 0, 64)
		if err != nil {
			return // empty, or what the kubelet refuses
		}
		n = float64(i)
	}
	if n > maxPods {
		v.bad(path, "%s is more than the %d addresses that a node has for pods, a /24 of networking.podCIDR", formatCount(n), maxPods)
	}
}

func formatCount(n float64) string {
	if math.Abs(n) < 1e15 {
		return strconv.FormatInt(int64(n), 10)
	}
	return fmt.Sprint(n)
}
