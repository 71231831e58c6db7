// Package tunnel carries everything that passes between the control plane and the nodes over one unix socket, so that
// nothing has to listen on the host and no route or firewall rule is needed.
//
// A node's [Agent] dials the socket, says who it is and keeps a multiplexed session (yamux) with the [Hub] in the control
// plane. Either side opens streams on it:
//
//   - node to control plane: "api" streams end at the API server ([Agent.DialAPI]);
//   - control plane to node: "dial" streams end at a TCP address the node can reach ([Hub.DialNode]), "agent" streams at
//     the agent's own HTTP handler ([Hub.AgentTransport]).
//
// The API server reaches nodes and pods through [ServeConnect], an HTTP CONNECT proxy that its egress selector is told of.
//
//	hub := &tunnel.Hub{Token: tunnel.FileTokens(nodesDir), LocalAPI: dialAPIServer, Router: routes, Gateway: gateway}
//	go hub.Serve(ctx, tunnelSocket)
//	go tunnel.ServeConnect(ctx, egressSocket, hub.DialAddress)
//
//	agent := &tunnel.Agent{Node: "n1", Token: token, Socket: "/kl/run/tunnel.sock", Handler: mux}
//	go agent.Run(ctx) // for ever: reconnects by itself
//	conn, err := agent.DialAPI(ctx)
//
// # Wire format
//
// The connection begins with one JSON line from the agent, {"node":…,"token":…,"version":…}, and one from the hub,
// {"ok":true} or {"error":…}. Then it is a yamux session with the agent as client. A stream begins the same way: one
// JSON line that says what it is for, one that answers. After that each direction is a sequence of chunks, a length of
// four bytes (big endian) and as many bytes of data. A chunk of length zero ends one direction and leaves the other open;
// a stream that closes without it was cut short. Yamux alone cannot tell those three apart.
package tunnel
