// Package clustertest has the contract that every node driver must meet ([Driver]), and fakes for tests of code that uses
// drivers: a driver without a backend ([Fake]) and a control plane without Kubernetes ([Plane]).
//
//	func TestDriver(t *testing.T) {
//		clustertest.Driver(t, clustertest.Subject{Connect: connect, Payload: payload, Prefix: "test", Residue: residue})
//	}
package clustertest
