// Package policy enforces NetworkPolicies on a node: it watches the objects, compiles them with cluster/policy and
// programs the pods of its node into one nftables table of its own, kl-policy.
//
//	agent := policy.New(connect, policy.Config{Node: "n1", Gateway: netip.MustParseAddr("10.245.0.1"), Logger: log})
//	if err := agent.Prepare(ctx); err != nil { … } // before the kubelet starts pods
//	mux.Handle("/v1/policy/", agent.Handler())
//	err := agent.Run(ctx, ready)
//
// # Path of a packet
//
// What is routed from or to a pod passes the forward hook, after kube-proxy translated a Service's address; what pods
// send to the gateway address passes the input hook. Both lead to the chain judge. What the node itself sends to its
// pods passes neither, and what pods send to other addresses of their node is not judged: it is always allowed.
//
//	forward, input ─► judge ─► map egress ─► eg-GROUP ─► pe-POLICY ─► oe-POLICY ─► ingress ─► map ingress ─► … ─► approve
//	                    │                       └ drop                                            └ drop
//	                    └ approved in this generation: accept
//
// Only pods of the node are in the two maps. Pods isolated by the same policies share a group chain; a policy has one
// chain a direction and one rule for each peer and protocol, which looks the peer up in a set. So a new pod is a few set
// elements, and a new policy is its own rules.
//
// # Established connections
//
// Kubernetes leaves open whether a policy applies to connections that exist. Here it does. approve writes the number of
// the ruleset's generation into the upper 24 bits of the connection's mark; packets of connections approved in the
// current generation pass at once. Every change of the rules starts a new generation, so each connection is judged once
// more, and one that would no longer be allowed is cut (its packets are dropped). Rules look at the connection
// (ct original, ct reply), not at the packet, hence replies are judged as what they are: part of the connection.
// The lower eight bits of the mark are left to others.
//
// # Fail closed
//
// A pod address that is not programmed is not allowed to slip through: a packet on a pod's interface whose pod end is in
// neither map is dropped as long as any policy in the cluster isolates pods in that direction, and before the first
// sync. Without such policies there is nothing to enforce, and pods do not wait for anyone. The table outlives the agent: while it restarts, the
// last rules stay in force, and the new agent replaces them in one transaction once it knows all objects.
//
// The price is that where policies exist, a new pod's traffic is dropped until the agent knows its address. The kubelet
// tells the API server only a moment after the containers were started, so [Agent.Claim] exists: the CNI plugin in
// embedded/node/policy/cni calls it during ADD, before there is any container, and returns once the pod is programmed.
//
// IPv6: pods have none. Link-local IPv6 from pods is dropped, for it would lead round the policies.
package policy
