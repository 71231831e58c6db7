// Package policy turns NetworkPolicies into a model that says which connections are allowed, and why. It is a pure
// function of Kubernetes objects: the node agent programs its packet filter from the model, and `kl policy explain` and
// the UI ask the very same model, so that what is said is what is enforced.
//
//	m := policy.Compile(policy.Objects{Pods: pods, Namespaces: namespaces, Policies: policies, Nodes: nodes}, policy.Options{})
//	v := m.Verdict(from, to, corev1.ProtocolTCP, 80)
//	fmt.Println(v.Allowed, v.Egress.Text, v.Ingress.Text)
//
// What counts as what:
//
//   - A pod takes part from the moment it has an address until it has succeeded or failed; a terminating pod still does.
//   - A pod on the host network cannot be selected. As a peer it is its node's address, which only an ipBlock matches.
//   - Traffic between a pod and the node it runs on, and from a pod to itself, is always allowed. [Options.Gateway] is
//     the exception: it is an address of every node but leads to the API, so as a destination it is an outside peer.
//   - A named port means the port of that name on the destination pod, whatever peer let it in. It means nothing for a
//     destination that is not a pod.
//   - A connection is judged on the real peer, that is after a Service's address was translated.
//
// The size of a model grows with pods and with peers, not with their product: pods with equal labels are matched once,
// equal selectors share one set, and pods selected by the same policies share one group.
package policy
