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

// resolver finds the pods, Services, nodes and addresses that command lines name.
type resolver struct {
	namespace string // of names without one
	options   policy.Options
	objects   policy.Objects
	services  []corev1.Service
	endpoints []discoveryv1.EndpointSlice
	model     *policy.Model
}

// peer is one end of a connection.
type peer struct {
	name  string
	addr  netip.Addr
	ports []peerPort // ports that a pod declares, or that a Service's ports lead to
}

// peerPort is a port with the names, or Service port numbers, that a command line may use for it.
type peerPort struct {
	names    []string
	protocol corev1.Protocol
	number   uint16
}

func podKey(p *corev1.Pod) string { return p.Namespace + "/" + p.Name }

// peers resolves an end of a connection as documented in the help of kl policy explain. A Service may have several.
func (r *resolver) peers(text string) ([]peer, error) {
	kind, name, found := strings.Cut(text, "/")
	switch {
	case found && (kind == "svc" || kind == "service"):
		return r.service(name)
	case found && (kind == "pod" || kind == "po"):
		text = name
	case found && kind == "node", text == "gateway":
		addr, err := r.model.Resolve(text)
		if err != nil {
			return nil, &cluster.Error{Op: "find " + text, Err: errors.New("the cluster has no such node"), Hint: "see 'kl kubectl get nodes'"}
		}
		return []peer{{name: text, addr: addr}}, nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap()
		for _, p := range r.objects.Pods {
			if at := r.model.PodAt(addr); at != nil && at.Key() == podKey(p) {
				return []peer{{name: at.Key(), addr: addr, ports: declared(p)}}, nil
			}
		}
		if i := slices.IndexFunc(r.services, func(s corev1.Service) bool { return slices.Contains(serviceAddrs(s), addr) }); i >= 0 {
			return r.behind(r.services[i])
		}
		return []peer{{name: text, addr: addr}}, nil
	}
	p, err := r.pod(text)
	if err != nil {
		return nil, err
	}
	return r.podPeer(p)
}

// pod finds a pod by NAME or NAMESPACE/NAME. If it does not exist, the error suggests others.
func (r *resolver) pod(name string) (*corev1.Pod, error) {
	namespace := r.namespace
	if ns, n, ok := strings.Cut(strings.TrimPrefix(name, "pod/"), "/"); ok {
		namespace, name = ns, n
	} else {
		name = strings.TrimPrefix(name, "pod/")
	}
	var here, alike []string
	for _, p := range r.objects.Pods {
		switch {
		case p.Namespace == namespace && p.Name == name:
			return p, nil
		case p.Name == name || strings.HasPrefix(p.Name, name+"-"):
			alike = append(alike, podKey(p))
		case p.Namespace == namespace:
			here = append(here, p.Name)
		}
	}
	hint := fmt.Sprintf("there are no pods in namespace %s; use NAMESPACE/NAME or -n", namespace)
	switch {
	case len(alike) > 0:
		hint = "did you mean " + some(alike) + "?"
	case len(here) > 0:
		hint = fmt.Sprintf("in namespace %s there are %s", namespace, some(here))
	}
	return nil, &cluster.Error{Op: "find pod " + namespace + "/" + name, Err: errors.New("not found"), Hint: hint}
}

// some lists the first few names.
func some(names []string) string {
	const limit = 6
	slices.Sort(names)
	if len(names) <= limit {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:limit], ", "), len(names)-limit)
}

// podPeer returns the pod as a list of one peer.
func (r *resolver) podPeer(p *corev1.Pod) ([]peer, error) {
	at := r.model.Pod(p.Namespace, p.Name)
	if at == nil {
		why := fmt.Errorf("the pod has no address yet (%s)", p.Status.Phase)
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			why = fmt.Errorf("the pod has ended (%s)", p.Status.Phase)
		}
		return nil, &cluster.Error{Op: "check pod " + podKey(p), Err: why}
	}
	return []peer{{name: podKey(p), addr: at.Addrs[0], ports: declared(p)}}, nil
}

// declared returns the ports that a pod's containers declare.
func declared(p *corev1.Pod) (ports []peerPort) {
	for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
		for _, cp := range c.Ports {
			port := peerPort{protocol: cp.Protocol, number: uint16(cp.ContainerPort)}
			if cp.Name != "" {
				port.names = []string{cp.Name}
			}
			ports = append(ports, port)
		}
	}
	return ports
}

// service returns the ready endpoints of a Service, NAME or NAME.NAMESPACE: policies apply to them, not to the Service.
func (r *resolver) service(text string) ([]peer, error) {
	name, namespace, ok := strings.Cut(text, ".")
	if !ok {
		namespace = r.namespace
	}
	i := slices.IndexFunc(r.services, func(s corev1.Service) bool { return s.Namespace == namespace && s.Name == name })
	if i < 0 {
		var names []string
		for _, s := range r.services {
			names = append(names, "svc/"+s.Name+"."+s.Namespace)
		}
		return nil, &cluster.Error{Op: "find Service " + namespace + "/" + name, Err: errors.New("not found"), Hint: "there are " + some(names)}
	}
	return r.behind(r.services[i])
}

// behind returns the ready endpoints of a Service.
func (r *resolver) behind(s corev1.Service) ([]peer, error) {
	var out []peer
	for _, slice := range r.endpoints {
		if slice.Namespace != s.Namespace || slice.Labels[discoveryv1.LabelServiceName] != s.Name {
			continue
		}
		ports := servicePorts(s, slice)
		for _, e := range slice.Endpoints {
			addr, err := netip.ParseAddr(e.Addresses[0])
			if err == nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				out = append(out, peer{name: "svc/" + s.Name + "." + s.Namespace, addr: addr, ports: ports})
			}
		}
	}
	if out == nil {
		return nil, &cluster.Error{Op: "check Service " + s.Namespace + "/" + s.Name, Err: errors.New("the Service has no ready pods"),
			Hint: fmt.Sprintf("see 'kl kubectl describe service -n %s %s'", s.Namespace, s.Name)}
	}
	return out, nil
}

// serviceAddrs returns the addresses that kube-proxy replaces by those of a Service's pods before any policy applies.
func serviceAddrs(s corev1.Service) (out []netip.Addr) {
	texts := slices.Concat(s.Spec.ClusterIPs, s.Spec.ExternalIPs)
	for _, in := range s.Status.LoadBalancer.Ingress {
		texts = append(texts, in.IP)
	}
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil { // "None" and "" are no addresses
			out = append(out, addr.Unmap())
		}
	}
	return out
}

// servicePorts returns the ports of endpoints, with the names and numbers of the Service's ports that lead to them.
func servicePorts(s corev1.Service, slice discoveryv1.EndpointSlice) (out []peerPort) {
	for _, p := range slice.Ports {
		if p.Port == nil {
			continue
		}
		port := peerPort{number: uint16(*p.Port), protocol: corev1.ProtocolTCP}
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

// ports returns the ports of a destination that text (PORT, PORT/PROTOCOL or a name) stands for; all if text is empty.
func (r *resolver) ports(target peer, text string) ([]policy.PortRange, error) {
	want, proto, _ := strings.Cut(text, "/")
	protocol := corev1.Protocol(strings.ToUpper(proto))
	switch protocol {
	case "", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
	default:
		return nil, usageError{fmt.Errorf("--port %s: the protocol is not TCP, UDP or SCTP", text)}
	}
	service := strings.HasPrefix(target.name, "svc/") // text is then a port of the Service, not of the pod
	var out []policy.PortRange
	var names []string
	for _, p := range target.ports {
		names = append(names, strings.Join(append(slices.Clone(p.names), fmt.Sprintf("%d/%s", p.number, p.protocol)), " = "))
		named := slices.Contains(p.names, want) || !service && strconv.Itoa(int(p.number)) == want
		if (text == "" || named) && (protocol == "" || protocol == p.protocol) {
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
	hint := "use --port with a number, such as 8080 or 53/UDP"
	if names != nil {
		hint = "ports are: " + strings.Join(names, ", ")
	}
	if text == "" {
		return nil, &cluster.Error{Op: "check a connection to " + target.name, Err: errors.New("no ports are declared"), Hint: hint}
	}
	return nil, &cluster.Error{Op: "find port " + text + " of " + target.name, Err: errors.New("not found"), Hint: hint}
}
