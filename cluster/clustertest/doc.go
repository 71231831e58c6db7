// Package clustertest holds the contract that every node driver meets and a driver without a backend for the tests of
// whoever uses one.
//
//	func TestDriver(t *testing.T) {
//		clustertest.Driver(t, clustertest.Subject{New: …, Spec: …, Residue: …})
//	}
//
//	fake := clustertest.NewFake()
//	fake.Hook = func(ctx context.Context, op string, n cluster.Node) error {
//		if op == "create" && n.Name == "n2" {
//			return errors.New("no space left on device")
//		}
//		return nil
//	}
//	… // fake.Dump() then shows what is left on the machine
package clustertest
