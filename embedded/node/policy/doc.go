// Package policy enforces NetworkPolicies on a node: it watches the objects, compiles them with cluster/policy and
// programs the pods of its node into one nftables table of its own, kl-policy. [Agent] does all of it: Prepare is called
// before the kubelet can start pods, then Run; Handler shows counters and denials.
//
// # Path of a packet
//
// Packets that are routed from or to a pod pass the forward hook, after kube-proxy has translated a Service's address;
// packets of pods to the gateway address pass the input hook. Both lead to the chain judge. Packets of the node itself to its
// pods pass neither hook, and packets of pods to other addresses of their node are not judged: both are always allowed.
//
//	forward, input ─► judge ─► map egress ─► eg-GROUP ─► pe-POLICY ─► oe-POLICY ─► ingress ─► map ingress ─► … ─► approve
//	                    │                       └ drop                                            └ drop
//	                    └ approved in this generation: accept
//
// Only pods of the node are in the two maps. Pods that are isolated by the same policies share a group chain; a policy has one
// chain for each direction and one rule for each peer and protocol, which looks the peer up in a set. So a new pod adds only
// a few set elements, and a new policy only its own rules.
//
// # Established connections
//
// Kubernetes does not specify whether a policy applies to existing connections. Here it does. approve writes the number of
// the ruleset's generation into the upper 24 bits of the connection's mark; packets of connections approved in the current
// generation are accepted at once. Every change of the rules starts a new generation, so that each connection is judged
// again, and the packets of one that is no longer allowed are dropped. Rules match the connection (ct original, ct reply),
// not the packet, so that replies are judged as part of their connection. The lower eight bits of the mark are left to others.
//
// # Fail closed
//
// Traffic of a pod address that is not programmed is not allowed: a packet on a pod's interface whose address is in neither
// map is dropped before the first sync, and as long as any policy in the cluster isolates pods in that direction. Without
// such policies there is nothing to enforce, and pods need not wait. The table outlives the agent: while the agent restarts,
// the last rules stay in force, and the new agent replaces them in one transaction once it has listed all objects.
//
// So where policies exist, a new pod's traffic is dropped until the agent knows its address. The kubelet reports the address
// only after the containers have started. Therefore the CNI plugin in embedded/node/policy/cni calls [Agent.Claim] during
// ADD, before there is any container, and returns once the pod is programmed.
//
// # Addresses of senders
//
// Rules judge a packet by its source address, so that address has to be true. [GuardEdge] sees to it before connection tracking, in
// a table of its own: what arrives from a pod has an address that is routed to that pod's interface, and nothing from outside has
// or wants a loopback address. Refused packets are in the journal with the pod that really sent them.
//
// Pods have no IPv6 addresses. Link-local IPv6 of pods is dropped, since it would bypass the policies.
package policy
