package cmd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/policy"
)

// ends finds the ends of connections as people name them.
type ends struct {
	namespace string // of what is named without one
	options   policy.Options
	objects   policy.Objects
	services  []corev1.Service
	endpoints []discoveryv1.EndpointSlice
	model     *policy.Model
}

// end is an end of a connection: an address, and the ports that it is known to have.
type end struct {
	name  string
	addr  netip.Addr
	ports []endPort // of a pod those it declares, of a Service's endpoint those that its ports lead to
}

// endPort is a port by the numbers and names people may call it.
type endPort struct {
	names    []string
	protocol corev1.Protocol
	number   uint16
}

func key(p *corev1.Pod) string { return p.Namespace + "/" + p.Name }

// end finds the addresses that text stands for; several if it is a Service.
func (x *ends) end(text string) ([]end, error) {
	kind, name, found := strings.Cut(text, "/")
	switch {
	case found && (kind == "svc" || kind == "service"):
		return x.service(name)
	case found && (kind == "pod" || kind == "po"):
		text = name
	case found && kind == "node", text == "gateway":
		addr, err := x.model.Resolve(text)
		if err != nil {
			return nil, &cluster.Error{Op: "find " + text, Err: errors.New("the cluster has no such node"), Hint: "see 'kl kubectl get nodes'"}
		}
		return []end{{name: text, addr: addr}}, nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap()
		for _, p := range x.objects.Pods {
			if at := x.model.PodAt(addr); at != nil && at.Key() == key(p) {
				return []end{{name: at.Key(), addr: addr, ports: declared(p)}}, nil
			}
		}
		return []end{{name: text, addr: addr}}, nil
	}
	p, err := x.pod(text)
	if err != nil {
		return nil, err
	}
	return x.podEnd(p)
}

// pod finds a pod, given as NAME or NAMESPACE/NAME. If there is none, the error names some that could be meant.
func (x *ends) pod(name string) (*corev1.Pod, error) {
	namespace := x.namespace
	if ns, n, ok := strings.Cut(strings.TrimPrefix(name, "pod/"), "/"); ok {
		namespace, name = ns, n
	} else {
		name = strings.TrimPrefix(name, "pod/")
	}
	var here, alike []string
	for _, p := range x.objects.Pods {
		switch {
		case p.Namespace == namespace && p.Name == name:
			return p, nil
		case p.Name == name || strings.HasPrefix(p.Name, name+"-"):
			alike = append(alike, key(p))
		case p.Namespace == namespace:
			here = append(here, p.Name)
		}
	}
	hint := fmt.Sprintf("there are no pods in namespace %s; name one as NAMESPACE/NAME, or give -n", namespace)
	switch {
	case len(alike) > 0:
		hint = "did you mean " + some(alike) + "?"
	case len(here) > 0:
		hint = fmt.Sprintf("in namespace %s there are %s", namespace, some(here))
	}
	return nil, &cluster.Error{Op: "find pod " + namespace + "/" + name, Err: errors.New("not found"), Hint: hint}
}

// some lists at most a handful of names.
func some(names []string) string {
	const enough = 6
	slices.Sort(names)
	if len(names) <= enough {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:enough], ", "), len(names)-enough)
}

func (x *ends) podEnd(p *corev1.Pod) ([]end, error) {
	at := x.model.Pod(p.Namespace, p.Name)
	if at == nil {
		why := fmt.Errorf("it has no address yet (%s)", p.Status.Phase)
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			why = fmt.Errorf("it has ended (%s) and takes no part in traffic", p.Status.Phase)
		}
		return nil, &cluster.Error{Op: "judge pod " + key(p), Err: why}
	}
	return []end{{name: key(p), addr: at.Addrs[0], ports: declared(p)}}, nil
}

// declared are the ports of a pod's containers.
func declared(p *corev1.Pod) (ports []endPort) {
	for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
		for _, cp := range c.Ports {
			port := endPort{protocol: cp.Protocol, number: uint16(cp.ContainerPort)}
			if cp.Name != "" {
				port.names = []string{cp.Name}
			}
			ports = append(ports, port)
		}
	}
	return ports
}

// service finds the endpoints of a Service, NAME or NAME.NAMESPACE: policies judge the real peer.
func (x *ends) service(text string) ([]end, error) {
	name, namespace, ok := strings.Cut(text, ".")
	if !ok {
		namespace = x.namespace
	}
	i := slices.IndexFunc(x.services, func(s corev1.Service) bool { return s.Namespace == namespace && s.Name == name })
	if i < 0 {
		var there []string
		for _, s := range x.services {
			there = append(there, "svc/"+s.Name+"."+s.Namespace)
		}
		return nil, &cluster.Error{Op: "find Service " + namespace + "/" + name, Err: errors.New("not found"), Hint: "there are " + some(there)}
	}
	var out []end
	for _, slice := range x.endpoints {
		if slice.Namespace != namespace || slice.Labels[discoveryv1.LabelServiceName] != name {
			continue
		}
		ports := servicePorts(x.services[i], slice)
		for _, e := range slice.Endpoints {
			addr, err := netip.ParseAddr(e.Addresses[0])
			if err == nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				out = append(out, end{name: "svc/" + text, addr: addr, ports: ports})
			}
		}
	}
	if out == nil {
		return nil, &cluster.Error{Op: "judge Service " + namespace + "/" + name, Err: errors.New("no pod is ready behind it"),
			Hint: fmt.Sprintf("see 'kl kubectl describe service -n %s %s'", namespace, name)}
	}
	return out, nil
}

// servicePorts are the ports of endpoints, called as the Service's ports that lead to them.
func servicePorts(s corev1.Service, slice discoveryv1.EndpointSlice) (out []endPort) {
	for _, p := range slice.Ports {
		if p.Port == nil {
			continue
		}
		port := endPort{number: uint16(*p.Port), protocol: corev1.ProtocolTCP}
		if p.Protocol != nil {
			port.protocol = *p.Protocol
		}
		for _, sp := range s.Spec.Ports {
			if p.Name != nil && sp.Name == *p.Name || p.Name == nil && sp.Name == "" {
				port.names = append(port.names, strconv.Itoa(int(sp.Port)), sp.Name)
			}
		}
		out = append(out, port)
	}
	return out
}

// ports finds the ports of a destination that text (PORT, PORT/PROTOCOL or a name) means; all of them if it is empty.
func (x *ends) ports(target end, text string) ([]policy.PortRange, error) {
	want, proto, _ := strings.Cut(text, "/")
	protocol := corev1.Protocol(strings.ToUpper(proto))
	switch protocol {
	case "", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
	default:
		return nil, usageError{fmt.Errorf("--port %s: the protocol is not TCP, UDP or SCTP", text)}
	}
	service := strings.HasPrefix(target.name, "svc/") // its ports' numbers are its own
	var out []policy.PortRange
	var names []string
	for _, p := range target.ports {
		names = append(names, strings.Join(append(slices.Clone(p.names), fmt.Sprintf("%d/%s", p.number, p.protocol)), " = "))
		called := slices.Contains(p.names, want) || !service && strconv.Itoa(int(p.number)) == want
		if (text == "" || called) && (protocol == "" || protocol == p.protocol) {
			out = append(out, policy.PortRange{Protocol: p.protocol, From: p.number, To: p.number})
		}
	}
	if out != nil {
		return out, nil
	}
	number, err := strconv.ParseUint(want, 10, 16)
	if err == nil && number > 0 && !service {
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		return []policy.PortRange{{Protocol: protocol, From: uint16(number), To: uint16(number)}}, nil
	}
	hint := "give its number: --port 8080, or --port 53/UDP"
	if names != nil {
		hint = "it has " + strings.Join(names, ", ")
	}
	if text == "" {
		return nil, &cluster.Error{Op: "judge a connection to " + target.name, Err: errors.New("it declares no ports"), Hint: hint}
	}
	return nil, &cluster.Error{Op: "find port " + text + " of " + target.name, Err: errors.New("not found"), Hint: hint}
}
