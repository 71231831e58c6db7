package figures

import (
	"fmt"
	"strings"
)

// Units of samples. The unit of a ratio is empty.
const (
	Seconds      = "s"
	Milliseconds = "ms"
	Megabytes    = "MB" // of 1e6 bytes
	Percent      = "%"  // of one core
	Throughput   = "Gbit/s"
)

// definition is what the rows of one name have in common. The name of a row is its key without the parameters: up of
// up/nodes=1/driver=docker.
type definition struct {
	name   string
	label  string // in words; {nodes} stands for the value of the parameter nodes
	unit   string
	higher bool // higher is better
	exact  bool // what is measured does not vary, such as the size of a file
}

// upstreamKey is the key of U.
const upstreamKey = "upstream"

// catalogue lists everything that is measured.
func catalogue() []definition {
	return []definition{
		{name: upstreamKey, label: "U: etcd and kube-apiserver, two processes, to /readyz", unit: Seconds},
		{name: "upstream/memory", label: "the same, anonymous memory then", unit: Megabytes},
		{name: "up", label: "`kl up --nodes {nodes}` until it returns", unit: Seconds},
		{name: "up/ready", label: "`kl up --nodes {nodes}` until the node is Ready", unit: Seconds},
		{name: "up/memory", label: "`kl up --nodes {nodes}`, anonymous memory of the control plane then", unit: Megabytes},
		{name: "up/simulated", label: "`kl up --nodes 0 --simulated {nodes}` to all Ready", unit: Seconds},
		{name: "up/simulated/memory", label: "the same, anonymous memory then", unit: Megabytes},
		{name: "crowd", label: "then {pods} pods of {deployments} Deployments applied to all Running", unit: Seconds},
		{name: "crowd/memory", label: "the same, largest anonymous memory meanwhile", unit: Megabytes},
		{name: "load", label: "`kl image load` of a small image", unit: Seconds},
		{name: "pod/first", label: "first pod of a loaded image, from `kl kubectl apply` to Running", unit: Seconds},
		{name: "pod/first/created", label: "the same from when the pod was created", unit: Seconds},
		{name: "app", label: "Deployment + Service applied to answering another pod by name", unit: Seconds},
		{name: "app/all", label: "the same from nothing, with `kl up` and `kl image load`", unit: Seconds},
		{name: "stop", label: "`kl stop`", unit: Seconds},
		{name: "start", label: "`kl start` until it returns", unit: Seconds},
		{name: "pause", label: "`kl pause`", unit: Milliseconds},
		{name: "resume", label: "`kl resume`, and the API answers", unit: Milliseconds},
		{name: "size", label: "size of `bin/kl`", unit: Megabytes, exact: true},
		{name: "version", label: "`kl version`", unit: Milliseconds},
		{name: "memory", label: "one node, all processes together: anonymous memory", unit: Megabytes},
		{name: "memory/plane", label: "control plane and its supervisor: anonymous memory", unit: Megabytes},
		{name: "memory/node", label: "the node's programs: anonymous memory", unit: Megabytes},
		{name: "memory/dns", label: "the pod of the cluster's DNS and its shim: anonymous memory", unit: Megabytes},
		{name: "idle", label: "one node, all processes together: idle", unit: Percent},
		{name: "idle/plane", label: "control plane and its supervisor: idle", unit: Percent},
		{name: "idle/node", label: "the node's programs: idle", unit: Percent},
		{name: "idle/dns", label: "the pod of the cluster's DNS and its shim: idle", unit: Percent},
		{name: "image/changed", label: "{nodes} nodes, 1 MB of an image changed: `docker build` returned to new pods Ready", unit: Seconds},
		{name: "image/known", label: "{nodes} nodes, new pods of an image that nodes have", unit: Seconds},
		{name: "image/changed/saved", label: "{nodes} nodes, 1 MB of an image changed, by `docker save` and a load of it all", unit: Seconds},
		{name: "image/written", label: "{nodes} nodes, bytes written for the change", unit: Megabytes},
		{name: "image/written/saved", label: "{nodes} nodes, the same by `docker save`, with the archive", unit: Megabytes},
		{name: "image/first", label: "{nodes} nodes, first pods of the image", unit: Seconds},
		{name: "image/first/saved", label: "{nodes} nodes, the same by `docker save`", unit: Seconds},
		{name: "image/disk", label: "{nodes} nodes, disk that the image takes", unit: Megabytes},
		{name: "image/disk/saved", label: "{nodes} nodes, the same by `docker save`", unit: Megabytes},
		{name: "image/second", label: "{nodes} nodes, first pods of the image in a second cluster", unit: Seconds},
		{name: "image/second/written", label: "{nodes} nodes, bytes written for these", unit: Megabytes},
		{name: "balancer/address", label: "LoadBalancer Service created to its address in the status", unit: Milliseconds},
		{name: "balancer/answer", label: "the same to the first answer at that address", unit: Milliseconds},
		{name: "balancer/outage", label: "no answer at its address after its {of} was {by}", unit: Milliseconds},
		{name: "policy/created", label: "policy created to in force on both nodes, {pods} pods, {policies} other policies", unit: Milliseconds},
		{name: "policy/deleted", label: "the same from deleting it", unit: Milliseconds},
		{name: "iperf", label: "iperf3 between two pods on {on}, {policies} policies", unit: Throughput, higher: true},
		{name: "iperf/kept", label: "the same, the part of it that {policies} policies leave", higher: true},
		{name: "claim/shared", label: "claim of class shared created to Bound", unit: Milliseconds},
		{name: "claim/standard", label: "claim of class standard and its pod created to Running", unit: Milliseconds},
		{name: "claim/none", label: "the same pod without a volume", unit: Milliseconds},
		{name: "ui/list", label: "`kl ui` to its first list of all {pods} pods", unit: Seconds},
		{name: "ui/frame", label: "key to frame, meanwhile: {meanwhile}", unit: Milliseconds},
		{name: "ui/memory", label: "anonymous memory of `kl ui` then", unit: Megabytes},
	}
}

// Aim is what kl is to reach, at most.
type Aim struct {
	Most  float64
	Ratio bool // of the ratio to U, instead of the samples themselves
}

// aims are the aims of the project by the key of a row without its driver.
func aims() map[string]Aim {
	return map[string]Aim{
		"up/nodes=0":                         {Most: 0.35, Ratio: true},
		"up/ready/nodes=1":                   {Most: 0.7, Ratio: true},
		"up/nodes=1":                         {Most: 0.9, Ratio: true},
		"pod/first":                          {Most: 0.6},
		"idle":                               {Most: 1.5},
		"memory":                             {Most: 220},
		"version":                            {Most: 20},
		"size":                               {Most: 90},
		"up/simulated/nodes=1000":            {Most: 8},
		"crowd/nodes=1000/pods=10000":        {Most: 60},
		"crowd/memory/nodes=1000/pods=10000": {Most: 1000},
	}
}

// parameter is a part of a key such as nodes=1.
type parameter struct{ name, value string }

// split takes a key apart.
func split(key string) (name string, parameters []parameter) {
	var words []string
	for part := range strings.SplitSeq(key, "/") {
		if n, v, ok := strings.Cut(part, "="); ok {
			parameters = append(parameters, parameter{n, v})
		} else {
			words = append(words, part)
		}
	}
	return strings.Join(words, "/"), parameters
}

// define looks a key up in the catalogue.
func define(key string) (definition, error) {
	name, parameters := split(key)
	for _, d := range catalogue() {
		if d.name != name {
			continue
		}
		for _, p := range parameters {
			d.label = strings.ReplaceAll(d.label, "{"+p.name+"}", strings.ReplaceAll(p.value, "_", " "))
		}
		if strings.Contains(d.label, "{") {
			return d, fmt.Errorf("the key %s lacks a parameter of %q", key, d.label)
		}
		return d, nil
	}
	return definition{}, fmt.Errorf("nothing that is measured has the key %s: see catalogue.go", key)
}

// aimOf returns the aim for a key.
func aimOf(key string) (Aim, bool) {
	name, parameters := split(key)
	for _, p := range parameters {
		if p.name != "driver" && p.name != "deployments" {
			name += "/" + p.name + "=" + p.value
		}
	}
	aim, ok := aims()[name]
	return aim, ok
}
