package config

import (
	"encoding/json"
	"reflect"

	"github.com/klkube/kl/cluster"
)

// Schema is the format as a JSON Schema (draft 2020-12), for editors: every field with its type and meaning.
func Schema() ([]byte, error) {
	s := schemaOf(specType(), "")
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "kl Cluster"
	s["required"] = []string{"apiVersion", "kind"}
	return json.MarshalIndent(s, "", "  ")
}

func schemaOf(t reflect.Type, path string) map[string]any {
	s := map[string]any{}
	if d := descriptions()[path]; d != "" {
		s["description"] = d
	}
	switch t.Kind() {
	case reflect.Struct:
		props := map[string]any{}
		for f := range t.Fields() {
			props[jsonName(f)] = schemaOf(f.Type, join(path, jsonName(f)))
		}
		s["type"], s["properties"], s["additionalProperties"] = "object", props, false
	case reflect.Map:
		s["type"], s["additionalProperties"] = "object", schemaOf(t.Elem(), join(path, "*"))
	case reflect.Slice:
		s["type"], s["items"] = "array", schemaOf(t.Elem(), path+"[]")
	case reflect.String:
		s["type"] = "string"
	case reflect.Int:
		s["type"] = "integer"
	case reflect.Bool:
		s["type"] = "boolean"
	}
	if words := enums()[path]; words != nil {
		s["enum"] = words
	}
	return s
}

func enums() map[string][]string {
	return map[string][]string{
		"apiVersion":               {cluster.APIVersion},
		"kind":                     {cluster.Kind},
		"driver":                   drivers(),
		"disable[]":                features(),
		"networking.cni":           {"kl", "none"},
		"encryption.provider":      words(cluster.EncryptionProviders()),
		"nodes[].ports[].protocol": {"tcp", "udp", "sctp"},
	}
}

// descriptions holds a sentence for every field, by path; a test checks that none is missing or stale.
func descriptions() map[string]string {
	return map[string]string{
		"apiVersion":                 "Version of this format.",
		"kind":                       "Always Cluster.",
		"name":                       "Name of the cluster: a DNS label of at most 32 characters.",
		"driver":                     "Where nodes come from. auto takes Docker where an engine answers, else embedded.",
		"nodes":                      "Groups of equal nodes; names run through all groups: n1, n2, …",
		"nodes[].count":              "Number of nodes in the group.",
		"nodes[].names":              "Names of the first nodes of the group; the others get n1, n2, …",
		"nodes[].cpus":               "Processors of each node as a Kubernetes quantity; limits the node and its allocatable.",
		"nodes[].memory":             "Memory of each node as a Kubernetes quantity; limits the node and its allocatable.",
		"nodes[].labels":             "Kubernetes labels of the nodes.",
		"nodes[].taints":             "Kubernetes taints, key[=value]:effect.",
		"nodes[].mounts":             "Directories of the host that the nodes see.",
		"nodes[].mounts[].host":      "Absolute path on the host.",
		"nodes[].mounts[].node":      "Absolute path in the node. What is mounted at /kl/disks/NAME becomes a volume of class local-storage.",
		"nodes[].mounts[].readOnly":  "Whether the node may not write to it.",
		"nodes[].ports":              "Ports of the node that the host publishes.",
		"nodes[].ports[].host":       "Port on the host.",
		"nodes[].ports[].node":       "Port on the node.",
		"nodes[].ports[].protocol":   "Protocol; tcp by default.",
		"nodes[].ports[].address":    "Address on the host; 127.0.0.1 by default.",
		"nodes[].simulated":          "Whether the nodes are played by kwok instead of being real.",
		"networking":                 "Address ranges.",
		"networking.podCIDR":         "Range of pod addresses; each node owns a /24 of it.",
		"networking.serviceCIDR":     "Range of Service addresses.",
		"networking.gateway":         "Address on which every node finds the API.",
		"networking.dns":             "Address of the DNS Service, within serviceCIDR.",
		"networking.cni":             "kl, or none to bring your own: nodes are NotReady, and kl up does not wait for them, until its configuration is in their /etc/cni/net.d and its programs are in their /opt/cni/bin.",
		"kubernetes":                 "What is passed on to the Kubernetes components.",
		"kubernetes.apiServerPort":   "Port of the API on 127.0.0.1; a free one by default.",
		"kubernetes.featureGates":    "Feature gates, for every component.",
		"kubernetes.runtimeConfig":   "API groups and versions to turn on or off, as --runtime-config takes them.",
		"kubernetes.extraArgs":       "Flags by component, without dashes. Those that kl sets itself are refused; lists are added to kl's.",
		"kubernetes.schedulerConfig": "Path of a KubeSchedulerConfiguration file, from the directory of this file, or the configuration itself. The file is read by 'kl up'.",
		"kubernetes.kubeletPatch":    "Fields merged into every node's KubeletConfiguration.",
		"encryption":                 "Which objects are encrypted in etcd, and how. A cluster that exists keeps what it has if this is left out.",
		"encryption.provider":        "What encrypts: secretbox by default, a KMS plugin, or none.",
		"encryption.resources":       "Resources whose objects are encrypted, such as configmaps or widgets.example.com; secrets by default.",
		"encryption.kms":             "The plugin of provider kms. It speaks KMS v2 and must run whenever the control plane does.",
		"encryption.kms.name":        "Name of the plugin. It is stored with every object and cannot change.",
		"encryption.kms.endpoint":    "Where the plugin listens: unix:// and the absolute path of a socket.",
		"encryption.kms.timeout":     "How long a call of the plugin may take; 3s by default.",
		"audit":                      "What the API server logs of requests; see 'kl audit'.",
		"audit.policy":               "Path of an audit.k8s.io/v1 Policy, from the directory of this file, or the policy itself; kl's own by default. The file is read by 'kl up'.",
		"audit.webhook":              "Server that gets the events, too, in batches.",
		"audit.webhook.url":          "Its address; a Service of the cluster is https://NAME.NAMESPACE.svc:PORT/PATH.",
		"audit.webhook.ca":           "Path of the certificate authorities of the server, from the directory of this file, or the certificates themselves. The file is read by 'kl up'.",
		"audit.webhook.kubeconfig":   "Path of a kubeconfig with address, authorities and credentials, in place of url and ca, or the kubeconfig itself. The file is read whenever the control plane starts.",
		"audit.webhook.batchMaxWait": "How long events wait for others; 30s by default.",
		"audit.webhook.batchMaxSize": "How many events are sent at once; 400 by default.",
		"containerd":                 "Image pulls.",
		"containerd.mirrors":         "Registry host to the endpoints tried in its place, in order.",
		"registries":                 "Where images come from: kl's own registry, and how others are reached.",
		"registries.port":            "Port of kl's registry on 127.0.0.1, for all clusters of a KL_HOME; 5000 by default, or the next that is free.",
		"registries.mirrors":         "Registry, or * for all others, to the URLs that are asked in its place, in order; the registry itself comes last.",
		"registries.caFiles":         "Registry to the file with the certificate authorities that it is trusted by, from the directory of this file. The file is read whenever an image is pulled.",
		"registries.insecure":        "Registries, with their ports, that may have any certificate or speak HTTP.",
		"disable":                    "Built-in parts to leave out.",
		"ephemeral":                  "Trade durability for speed: etcd does not sync to disk.",
	}
}
