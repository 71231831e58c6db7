package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// Effect is what a change costs a running cluster.
type Effect string

// The effects, cheapest first.
const (
	EffectLive         Effect = "live"               // applied to the running cluster
	EffectNodes        Effect = "nodes"              // nodes are added or removed
	EffectControlPlane Effect = "control plane"      // the control plane restarts over its data; pods run on
	EffectNodeRestart  Effect = "restarts the nodes" // each node's programs restart; containers run on
	EffectRestart      Effect = "restarts all"       // the last two
)

// Change is one difference between two Specs.
type Change struct {
	Path   string
	Old    string // JSON
	New    string // JSON
	Effect Effect
}

// String is one line. Long values, such as the content of files, are cut.
func (c Change) String() string {
	const size = 100
	return fmt.Sprintf("%s: %s → %s (%s)", c.Path, statefile.Shorten(c.Old, size), statefile.Shorten(c.New, size), c.Effect)
}

// Plan lists what brings a cluster from one Spec to another. The error is a [Problems] that names every change that
// needs a new cluster, and why.
func Plan(old, new cluster.Spec) ([]Change, error) {
	var changes []Change
	var refused Problems
	note := func(path string, a, b any, e Effect) {
		if !reflect.DeepEqual(a, b) && text(a) != text(b) {
			changes = append(changes, Change{path, text(a), text(b), e})
		}
	}
	refuse := func(path string, a, b any, why string) {
		if text(a) != text(b) {
			refused = append(refused, Problem{File: "cluster " + old.Name, Path: path,
				Message: fmt.Sprintf("cannot change from %s to %s: %s; run kl down and kl up for a new cluster", text(a), text(b), why)})
		}
	}
	refuse("name", old.Name, new.Name, "it is the cluster's identity")
	if new.Driver != cluster.DriverAuto && new.Driver != "" {
		refuse("driver", old.Driver, new.Driver, "nodes cannot move between drivers")
	}
	const addresses = "addresses handed out would no longer be valid"
	refuse("networking.podCIDR", old.Networking.PodCIDR, new.Networking.PodCIDR, addresses)
	refuse("networking.serviceCIDR", old.Networking.ServiceCIDR, new.Networking.ServiceCIDR, addresses)
	refuse("networking.gateway", old.Networking.Gateway, new.Networking.Gateway, "it is part of the serving certificate")
	refuse("networking.dns", old.Networking.DNS, new.Networking.DNS, "running pods have it in their resolv.conf")
	refuse("networking.cni", old.Networking.CNI, new.Networking.CNI, "running pods are wired by the other one")
	if new.Kubernetes.APIServerPort != 0 {
		refuse("kubernetes.apiServerPort", old.Kubernetes.APIServerPort, new.Kubernetes.APIServerPort, "kubeconfigs and nodes point to it")
	}
	if new.Encryption.Provider != "" || len(new.Encryption.Resources) > 0 {
		note("encryption", old.Encryption, Encrypted(old.Encryption, new.Encryption), EffectLive)
	}
	note("ephemeral", old.Ephemeral, new.Ephemeral, EffectControlPlane)
	note("disable", old.Disable, new.Disable, EffectRestart)
	note("containerd", old.Containerd, new.Containerd, EffectRestart)
	note("registries", old.Registries, new.Registries, EffectControlPlane)
	note("audit.policy", old.Audit.Policy, new.Audit.Policy, EffectControlPlane)
	note("audit.webhook", old.Audit.Webhook, new.Audit.Webhook, EffectControlPlane)
	planKubernetes(old.Kubernetes, new.Kubernetes, note)
	planNodes(old.Nodes, new.Nodes, note, refuse)
	if len(refused) > 0 {
		return nil, refused
	}
	return changes, nil
}

func planKubernetes(old, new cluster.Kubernetes, note func(string, any, any, Effect)) {
	note("kubernetes.featureGates", old.FeatureGates, new.FeatureGates, EffectRestart)
	note("kubernetes.runtimeConfig", old.RuntimeConfig, new.RuntimeConfig, EffectControlPlane)
	note("kubernetes.schedulerConfig", old.Scheduler, new.Scheduler, EffectControlPlane)
	note("kubernetes.kubeletPatch", old.KubeletPatch, new.KubeletPatch, EffectNodeRestart)
	for _, c := range Components() {
		effect := EffectControlPlane
		if strings.HasPrefix(c, "kubelet") || c == "kube-proxy" {
			effect = EffectNodeRestart
		}
		note("kubernetes.extraArgs."+c, old.ExtraArgs[c], new.ExtraArgs[c], effect)
	}
}

func planNodes(old, new []cluster.NodeGroup, note func(string, any, any, Effect), refuse func(string, any, any, string)) {
	for i := range max(len(old), len(new)) {
		path := fmt.Sprintf("nodes[%d]", i)
		switch {
		case i >= len(old), i < len(new) && old[i].Count == 0 && len(old[i].Names) == 0 && new[i].Count > 0 && alike(old[i], new[i]):
			note(path, nil, new[i], EffectNodes)
		case i >= len(new):
			note(path, old[i], nil, EffectNodes)
		default:
			a, b := old[i], new[i]
			refuse(path+".simulated", a.Simulated, b.Simulated, "a node cannot become real or unreal")
			refuse(path+".cpus", a.CPUs, b.CPUs, "a node's size is set when it is made")
			refuse(path+".memory", a.Memory, b.Memory, "a node's size is set when it is made")
			refuse(path+".mounts", a.Mounts, b.Mounts, "a node's mounts are set when it is made")
			note(path+".count", a.Count, b.Count, EffectNodes)
			if len(b.Names) > 0 {
				note(path+".names", a.Names, b.Names, EffectNodes)
			}
			note(path+".labels", a.Labels, b.Labels, EffectLive)
			note(path+".taints", a.Taints, b.Taints, EffectLive)
			note(path+".ports", tcp(a.Ports), tcp(b.Ports), EffectLive)
			refuse(path+".ports", notTCP(a.Ports), notTCP(b.Ports), "udp and sctp ports are published when a node is made, only tcp ports can change")
		}
	}
}

func tcp(ports []cluster.Port) []cluster.Port {
	return slices.DeleteFunc(slices.Clone(ports), func(p cluster.Port) bool { return !p.Forwarded() })
}

func notTCP(ports []cluster.Port) []cluster.Port {
	return slices.DeleteFunc(slices.Clone(ports), cluster.Port.Forwarded)
}

// text is a value as compact JSON; empty collections and nil are the same.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	switch s := string(b); s {
	case "null", "{}", "[]", `""`:
		return "none"
	default:
		return s
	}
}
