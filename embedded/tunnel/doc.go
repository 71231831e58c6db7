// Package tunnel carries everything that passes between the control plane and the nodes over unix sockets, one a node, so
// that nothing has to listen on the host and no route or firewall rule is needed.
//
// A node's [Agent] dials its socket, checks the hub's certificate, proves itself with the node's token and keeps a multiplexed
// session (yamux over TLS) with the [Hub] in the control plane. Either side opens streams on it:
//
//   - node to control plane: "api" streams end at the API server ([Agent.DialAPI]), "join" streams bring a token for the
//     node's first certificate ([Agent.Join]);
//   - control plane to node: "dial" streams end at a TCP address the node can reach ([Hub.DialNode]), "agent" streams at
//     the agent's own HTTP handler ([Hub.AgentTransport]).
//
// The API server reaches nodes and pods through [ServeConnect], an HTTP CONNECT proxy that its egress selector names.
//
// # Wire format
//
// The connection is TLS 1.3, in which the hub has a certificate of the cluster's authority. It begins with one JSON line from
// the agent, {"node":…,"token":…,"version":…,"protocol":3}, and one from the hub, {"ok":true} or {"error":…}. Then it is a
// yamux session with the agent as client. A stream begins the same way: one
// JSON line that says what the stream is for, one that answers. After that it carries bytes as they are. FIN ends one
// direction and leaves the other open; RST means that the stream was cut short.
//
// The multiplexer is libp2p's yamux because it has both of these; hashicorp's can only close both directions at once, and
// its reader cannot tell a clean end from a cut. Protocol 1 had a framing of its own on top of the latter, protocol 2 no TLS
// and one socket for all nodes.
package tunnel
