package cmd

import (
	"context"
	"errors"
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

// explanation is the output of kl policy explain -o json.
type explanation struct {
	Pod         string           `json:"pod"`
	Node        string           `json:"node,omitempty"`
	Addrs       []netip.Addr     `json:"addrs,omitempty"`
	Note        string           `json:"note,omitempty"` // why no policy applies to the pod
	Ingress     *isolation       `json:"ingress,omitempty"`
	Egress      *isolation       `json:"egress,omitempty"`
	Connections []policy.Verdict `json:"connections,omitempty"`
}

// isolation is what policies allow a pod in one direction.
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
		return usageError{errors.New("--port needs the other end: use --to or --from")}
	}
	client, spec, err := f.target.client(e, named)
	if err != nil {
		return err
	}
	r := resolver{namespace: f.target.namespace}
	if r.namespace == "" {
		r.namespace = corev1.NamespaceDefault
	}
	if spec != nil {
		if err := unenforced(*spec); err != nil {
			fmt.Fprintf(e.Err, "kl: note: %s\n", err)
		}
		r.options.Gateway, _ = netip.ParseAddr(spec.Networking.Gateway) // the spec has been validated; the zero Addr matches nothing
	}
	if err := r.load(ctx, client); err != nil {
		return &cluster.Error{Op: "read the cluster's policies", Err: err, Hint: "see 'kl status'"}
	}
	answer, err := r.explain(pod, f)
	if err != nil {
		return err
	}
	if f.output.isJSON() {
		return printJSON(e.Out, answer)
	}
	if answer.Connections == nil {
		return printIsolation(e.Out, answer)
	}
	return r.printConnections(e.Out, answer.Connections)
}

// load reads the objects of the model, from the API server's cache where that is recent enough.
func (r *resolver) load(ctx context.Context, c kubernetes.Interface) error {
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
	r.objects = policy.Objects{
		Pods: pointers(pods.Items), Namespaces: pointers(namespaces.Items), Nodes: pointers(nodes.Items), Policies: pointers(policies.Items),
	}
	r.services, r.endpoints = services.Items, endpoints.Items
	r.model = policy.Compile(r.objects, r.options)
	return nil
}

func pointers[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// explain returns what isolates a pod or, if the flags name another end, the verdicts on connections with it.
func (r *resolver) explain(name string, f explainFlags) (explanation, error) {
	pod, err := r.pod(name)
	if err != nil {
		return explanation{}, err
	}
	answer := explanation{Pod: podKey(pod), Node: pod.Spec.NodeName}
	if f.to == "" && f.from == "" {
		r.isolation(pod, &answer)
		return answer, nil
	}
	self, err := r.podPeer(pod)
	if err != nil {
		return explanation{}, err
	}
	other, err := r.peers(f.to + f.from) // at most one of them is set
	if err != nil {
		return explanation{}, err
	}
	sources, targets := self, other
	if f.from != "" {
		sources, targets = other, self
	}
	for _, target := range targets {
		ports, err := r.ports(target, f.port)
		if err != nil {
			return explanation{}, err
		}
		for _, source := range sources {
			for _, p := range ports {
				answer.Connections = append(answer.Connections, r.model.Verdict(source.addr, target.addr, p.Protocol, p.From))
			}
		}
	}
	return answer, nil
}

// isolation sets the pod's isolation in answer, or a note if no policy applies to it.
func (r *resolver) isolation(pod *corev1.Pod, answer *explanation) {
	p := r.model.Pod(pod.Namespace, pod.Name)
	switch {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		answer.Note = fmt.Sprintf("the pod has ended (%s), so no policy applies", pod.Status.Phase)
	case pod.Spec.HostNetwork:
		answer.Note = "the pod uses its node's network: no policy can select it, and peers see the node's address"
	case p == nil:
		answer.Note = "the pod has no address yet; its policies will be enforced before its first container starts"
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

func printIsolation(w io.Writer, answer explanation) error {
	if answer.Note != "" {
		_, err := fmt.Fprintf(w, "%s: %s\n", answer.Pod, answer.Note)
		return err
	}
	fmt.Fprintf(w, "%s  %s  on %s\n", answer.Pod, answer.Addrs[0], answer.Node)
	for _, side := range []struct {
		name, verb string
		*isolation
	}{{"ingress", "may be reached from", answer.Ingress}, {"egress", "may reach", answer.Egress}} {
		if !side.Isolated {
			fmt.Fprintf(w, "\n%s: not isolated, %s anywhere\n", side.name, side.verb)
			continue
		}
		fmt.Fprintf(w, "\n%s: isolated, %s\n", side.name, side.verb)
		for _, p := range side.Policies {
			if len(p.Rules) == 0 {
				fmt.Fprintf(w, "  nothing, by %s\n", p.Policy)
			}
			for i, rule := range p.Rules {
				fmt.Fprintf(w, "  %s, by %s rule %d\n", rule, p.Policy, i+1)
			}
		}
	}
	_, err := fmt.Fprintf(w, "\nConnections between the pod and node/%s are always allowed.\n", answer.Node)
	return err
}

// printConnections prints for each connection whether it is allowed, why, and if not, what the policies would allow.
func (r *resolver) printConnections(w io.Writer, all []policy.Verdict) error {
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
		pod := r.model.PodAt(v.FromAddr)
		if direction == policy.Ingress {
			pod = r.model.PodAt(v.ToAddr)
		}
		for _, p := range isolationOf(pod, direction).Policies {
			if len(p.Rules) > 0 {
				fmt.Fprintf(w, "           %s allows %s\n", p.Policy, strings.Join(p.Rules, "; "))
			}
		}
	}
	return nil
}

// withAddr formats a name with its address, unless the name is the address.
func withAddr(name string, a netip.Addr) string {
	if name == a.String() {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, a)
}
