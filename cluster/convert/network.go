package convert

import (
	"strconv"

	"go.yaml.in/yaml/v3"
)

func ingress(o *object) string {
	spec := get(o.node, "spec")
	if key, backend := find(spec, "backend"); backend != nil {
		rename(spec, "backend", "defaultBackend")
		o.changed(key, "spec.backend is now spec.defaultBackend")
		o.backend(backend)
	}
	for _, r := range items(spec, "rules") {
		for _, p := range items(r, "http", "paths") {
			o.backend(get(p, "backend"))
			if p.Kind == yaml.MappingNode && get(p, "pathType") == nil {
				remove(p, "pathType")
				insert(p, "backend", "pathType", str("ImplementationSpecific"))
				o.changed(p, "pathType: ImplementationSpecific is written out, the default of %s: it is required today", o.api)
			}
			if key, path := find(p, "path"); path != nil && path.Value == "" && path.Kind == yaml.ScalarNode {
				set(p, "path", like(path, "/"))
				o.changed(key, "the empty path is now /, which means the same")
			}
		}
	}
	return ""
}

// backend converts serviceName and servicePort.
func (o *object) backend(b *yaml.Node) {
	if get(b, "serviceName") == nil && get(b, "servicePort") == nil {
		return
	}
	_, name := find(b, "serviceName")
	_, port := find(b, "servicePort")
	service := mapping()
	if name != nil {
		service.Content = append(service.Content, plain("name"), name)
	}
	if port != nil {
		_, err := strconv.Atoi(port.Value)
		field := "name"
		if err == nil {
			field = "number"
			if port.Tag != "!!int" {
				port = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: port.Value, Line: port.Line, LineComment: port.LineComment}
			}
		}
		service.Content = append(service.Content, plain("port"), mapping(field, port))
	}
	at, _ := find(b, "serviceName")
	if at == nil {
		at, _ = find(b, "servicePort")
	}
	become(b, at.Value, "service", service)
	remove(b, "servicePort")
	o.changed(at, "serviceName and servicePort are now service.name and service.port")
}

// service converts annotations of Services that became fields.
func (o *object) service() {
	spec := get(o.node, "spec")
	if o.api != "v1" || spec == nil || spec.Kind != yaml.MappingNode {
		return
	}
	if key, v := o.annotation("service.alpha.kubernetes.io/tolerate-unready-endpoints"); key != nil {
		dropAnnotation(o.node, key.Value)
		if get(spec, "publishNotReadyAddresses") == nil && v.Value == "true" {
			set(spec, "publishNotReadyAddresses", boolean(true))
			o.moved(key, spec, "publishNotReadyAddresses")
		}
		o.changed(key, "annotation %s is now spec.publishNotReadyAddresses", key.Value)
	}
	for _, stage := range []string{"beta", "alpha"} {
		if key, v := o.annotation("service." + stage + ".kubernetes.io/external-traffic"); key != nil {
			policy := map[string]string{"OnlyLocal": "Local", "Global": "Cluster"}[v.Value]
			if policy == "" {
				o.left(key, "annotation %s has the value %q, which means nothing: set spec.externalTrafficPolicy", key.Value, v.Value)
				continue
			}
			dropAnnotation(o.node, key.Value)
			if get(spec, "externalTrafficPolicy") == nil {
				set(spec, "externalTrafficPolicy", str(policy))
				o.moved(key, spec, "externalTrafficPolicy")
			}
			o.changed(key, "annotation %s is now spec.externalTrafficPolicy", key.Value)
		}
		if key, v := o.annotation("service." + stage + ".kubernetes.io/healthcheck-nodeport"); key != nil {
			port, err := strconv.Atoi(v.Value)
			if err != nil {
				o.left(key, "annotation %s is no port: set spec.healthCheckNodePort", key.Value)
				continue
			}
			dropAnnotation(o.node, key.Value)
			if get(spec, "healthCheckNodePort") == nil && port > 0 {
				set(spec, "healthCheckNodePort", integer(port))
				o.moved(key, spec, "healthCheckNodePort")
			}
			o.changed(key, "annotation %s is now spec.healthCheckNodePort", key.Value)
		}
	}
}

// namespace turns the annotation that isolated a namespace into the policy that does.
func (o *object) namespace() {
	const annotation = "net.beta.kubernetes.io/network-policy"
	key, v := o.annotation(annotation)
	if o.api != "v1" || key == nil {
		return
	}
	isolation, err := parseJSON(v.Value, 0)
	dropAnnotation(o.node, annotation)
	if err != nil || text(isolation, "ingress", "isolation") != "DefaultDeny" {
		o.changed(key, "annotation %s is removed: it has had no effect since Kubernetes 1.7", annotation)
		return
	}
	policy := mapping(
		"apiVersion", "networking.k8s.io/v1",
		"kind", "NetworkPolicy",
		"metadata", mapping("name", "default-deny", "namespace", text(o.node, "metadata", "name")),
		"spec", mapping("podSelector", &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Style: yaml.FlowStyle}, "policyTypes", stringsOf("Ingress")))
	o.c.extra = append(o.c.extra, policy)
	o.changed(key, "annotation %s is now a NetworkPolicy, default-deny: it has had no effect since Kubernetes 1.7", annotation)
}

func endpointSlice(o *object) string {
	if _, v := find(o.node, "addressType"); v != nil && v.Value == "IP" {
		set(o.node, "addressType", like(v, "IPv4"))
		o.changed(v, "addressType IP is now IPv4")
	}
	for _, e := range items(o.node, "endpoints") {
		key, topology := find(e, "topology")
		if topology == nil {
			continue
		}
		node, zone := text(topology, "kubernetes.io/hostname"), text(topology, "topology.kubernetes.io/zone")
		remove(topology, "kubernetes.io/hostname")
		remove(topology, "topology.kubernetes.io/zone")
		if node != "" && get(e, "nodeName") == nil {
			insert(e, "topology", "nodeName", str(node))
		}
		if zone != "" && get(e, "zone") == nil {
			insert(e, "topology", "zone", str(zone))
		}
		if len(topology.Content) == 0 {
			remove(e, "topology")
		} else {
			rename(e, "topology", "deprecatedTopology")
		}
		o.changed(key, "topology of an endpoint is now nodeName, zone and, for all else, deprecatedTopology")
	}
	return ""
}
