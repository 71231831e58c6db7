package cmd

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/policy"
)

type explainFlags struct {
	target         targetFlags
	to, from, port string
	output         output
}

// explanation is what `kl policy explain -o json` prints.
type explanation struct {
	Pod         string           `json:"pod"`
	Node        string           `json:"node,omitempty"`
	Addrs       []netip.Addr     `json:"addrs,omitempty"`
	Note        string           `json:"note,omitempty"` // why policies do not concern the pod
	Ingress     *isolation       `json:"ingress,omitempty"`
	Egress      *isolation       `json:"egress,omitempty"`
	Connections []policy.Verdict `json:"connections,omitempty"`
}

// isolation is what a pod may do in a direction.
type isolation struct {
	Isolated bool         `json:"isolated"`
	Policies []allowances `json:"policies,omitempty"`
}

// allowances are the rules of one policy, in words.
type allowances struct {
	Policy string   `json:"policy"`
	Rules  []string `json:"rules"`
}

func policyExplain(ctx context.Context, e *env, pod string, f explainFlags, named bool) error {
	if f.port != "" && f.to == "" && f.from == "" {
		return usageError{fmt.Errorf("--port needs the other end: give --to or --from")}
	}
	client, spec, err := f.target.client(e, named)
	if err != nil {
		return err
	}
	x := ends{namespace: f.target.namespace}
	if x.namespace == "" {
		x.namespace = corev1.NamespaceDefault
	}
	if spec != nil {
		if err := unenforced(*spec); err != nil {
			fmt.Fprintf(e.Err, "kl: note: %v\n", err)
		}
		x.options.Gateway, _ = netip.ParseAddr(spec.Networking.Gateway) // checked when it was written
	}
	if err := x.load(ctx, client); err != nil {
		return &cluster.Error{Op: "read the cluster's policies", Err: err, Hint: "does the API answer? see 'kl status'"}
	}
	answer, err := x.explain(pod, f)
	if err != nil {
		return err
	}
	if f.output.isJSON() {
		return printJSON(e.Out, answer)
	}
	if answer.Connections == nil {
		return printIsolation(e.Out, answer)
	}
	return x.printConnections(e.Out, answer.Connections)
}

// load reads what a model is made of. Objects that the API server has cached will do.
func (x *ends) load(ctx context.Context, c kubernetes.Interface) error {
	cached := metav1.ListOptions{ResourceVersion: "0"}
	pods, err := c.CoreV1().Pods("").List(ctx, cached)
	if err != nil {
		return err
	}
	namespaces, err := c.CoreV1().Namespaces().List(ctx, cached)
	if err != nil {
		return err
	}
	nodes, err := c.CoreV1().Nodes().List(ctx, cached)
	if err != nil {
		return err
	}
	policies, err := c.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	services, err := c.CoreV1().Services("").List(ctx, cached)
	if err != nil {
		return err
	}
	endpoints, err := c.DiscoveryV1().EndpointSlices("").List(ctx, cached)
	if err != nil {
		return err
	}
	x.objects = policy.Objects{
		Pods: pointers(pods.Items), Namespaces: pointers(namespaces.Items), Nodes: pointers(nodes.Items), Policies: pointers(policies.Items),
	}
	x.services, x.endpoints = services.Items, endpoints.Items
	x.model = policy.Compile(x.objects, x.options)
	return nil
}

func pointers[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// explain answers about a pod, and about connections if the flags name another end.
func (x *ends) explain(name string, f explainFlags) (explanation, error) {
	pod, err := x.pod(name)
	if err != nil {
		return explanation{}, err
	}
	answer := explanation{Pod: key(pod), Node: pod.Spec.NodeName}
	if f.to == "" && f.from == "" {
		x.isolation(pod, &answer)
		return answer, nil
	}
	self, err := x.podEnd(pod)
	if err != nil {
		return explanation{}, err
	}
	other, err := x.end(f.to + f.from) // one of them is empty
	if err != nil {
		return explanation{}, err
	}
	sources, targets := self, other
	if f.from != "" {
		sources, targets = other, self
	}
	for _, target := range targets {
		ports, err := x.ports(target, f.port)
		if err != nil {
			return explanation{}, err
		}
		for _, source := range sources {
			for _, p := range ports {
				answer.Connections = append(answer.Connections, x.model.Verdict(source.addr, target.addr, p.Protocol, p.From))
			}
		}
	}
	return answer, nil
}

func (x *ends) isolation(pod *corev1.Pod, answer *explanation) {
	p := x.model.Pod(pod.Namespace, pod.Name)
	switch {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		answer.Note = fmt.Sprintf("it has ended (%s), so no policy concerns it", pod.Status.Phase)
	case pod.Spec.HostNetwork:
		answer.Note = "it is on its node's network, where no policy can select it; to others it is its node's address"
	case p == nil:
		answer.Note = "it has no address yet; its policies are in force before its first container starts"
	}
	if answer.Note != "" {
		return
	}
	answer.Addrs = p.Addrs
	answer.Ingress, answer.Egress = isolationOf(p, policy.Ingress), isolationOf(p, policy.Egress)
}

func isolationOf(p *policy.Pod, d policy.Direction) *isolation {
	group := p.Group(d)
	if group == nil {
		return &isolation{}
	}
	out := &isolation{Isolated: true}
	for _, np := range group.Policies {
		a := allowances{Policy: np.Key(), Rules: []string{}}
		for _, r := range np.Rules(d) {
			a.Rules = append(a.Rules, r.Words())
		}
		out.Policies = append(out.Policies, a)
	}
	return out
}

func printIsolation(w io.Writer, x explanation) error {
	if x.Note != "" {
		_, err := fmt.Fprintf(w, "%s: %s\n", x.Pod, x.Note)
		return err
	}
	fmt.Fprintf(w, "%s  %s  on %s\n", x.Pod, x.Addrs[0], x.Node)
	for _, side := range []struct {
		name, verb string
		*isolation
	}{{"ingress", "be reached from", x.Ingress}, {"egress", "reach", x.Egress}} {
		if !side.Isolated {
			fmt.Fprintf(w, "\n%s: not isolated, it may %s anywhere\n", side.name, side.verb)
			continue
		}
		fmt.Fprintf(w, "\n%s: isolated, it may %s\n", side.name, side.verb)
		for _, p := range side.Policies {
			if len(p.Rules) == 0 {
				fmt.Fprintf(w, "  nobody, by %s\n", p.Policy)
			}
			for i, r := range p.Rules {
				fmt.Fprintf(w, "  %s, by %s rule %d\n", r, p.Policy, i+1)
			}
		}
	}
	_, err := fmt.Fprintf(w, "\nnode/%s and the pod may always talk.\n", x.Node)
	return err
}

// printConnections says of each connection whether it is allowed, and why; where it is not, what would be.
func (x *ends) printConnections(w io.Writer, all []policy.Verdict) error {
	for i, v := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		word := "allowed"
		if !v.Allowed {
			word = "denied"
		}
		fmt.Fprintf(w, "%s → %s  %s: %s\n", withAddr(v.From, v.FromAddr), withAddr(v.To, v.ToAddr), portWord(v.Protocol, v.Port), word)
		fmt.Fprintf(w, "  egress   %s\n  ingress  %s\n", v.Egress.Text, v.Ingress.Text)
		direction, _, denied := v.Denied()
		if !denied {
			continue
		}
		pod := x.model.PodAt(v.FromAddr)
		if direction == policy.Ingress {
			pod = x.model.PodAt(v.ToAddr)
		}
		for _, p := range isolationOf(pod, direction).Policies {
			if len(p.Rules) > 0 {
				fmt.Fprintf(w, "           %s allows %s\n", p.Policy, strings.Join(p.Rules, "; "))
			}
		}
	}
	return nil
}

func withAddr(name string, a netip.Addr) string {
	if name == a.String() {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, a)
}
