// Package balance keeps every load balancer address on a node that serves it.
//
// It decides in four steps, each in a file: allocate (an address for a Service), assign (a node for an address), announcer
// (agents are told, and health is probed), balancer (the loop over these). The first two are pure functions. [Handler] serves
// the result on the status socket.
package balance
