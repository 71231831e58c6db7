// Package policy compiles NetworkPolicies to a model that says which connections are allowed, and why. The model is a pure
// function of Kubernetes objects. The node agent makes its packet filter of it, and `kl policy explain` and the UI ask the
// same model, so that they say what is enforced.
//
//	m := policy.Compile(policy.Objects{Pods: pods, Namespaces: namespaces, Policies: policies, Nodes: nodes}, policy.Options{})
//	v := m.Verdict(from, to, corev1.ProtocolTCP, 80)
//	fmt.Println(v.Allowed, v.Egress.Text, v.Ingress.Text)
//
// How traffic is judged:
//
//   - A pod counts as soon as it has an address and until it has succeeded or failed; a terminating pod still counts.
//   - A pod on the host network cannot be selected. As a peer it has the address of its node, which only an ipBlock matches.
//   - Traffic between a pod and the node it runs on, and from a pod to itself, is always allowed. [Options.Gateway] is
//     the exception: it is an address of every node but leads to the API, so as a destination it is outside the cluster.
//   - A named port is the port of that name of the destination pod. It matches nothing if the destination is not a pod.
//   - A connection is judged by its real destination, after the translation of a Service's address.
//
// The size of a model grows with pods and with peers, not with their product: pods with equal labels are matched once,
// equal selectors share one set, and pods selected by the same policies share one group.
package policy
