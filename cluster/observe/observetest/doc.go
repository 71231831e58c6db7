// Package observetest has a small API server for tests of code that observes and changes clusters: it lists, watches, patches
// and deletes objects over HTTP, in JSON and protobuf. It can stop and start again, refuse requests for lack of rights, and
// hold the thousands of objects that [Synthetic] makes.
//
//	srv := observetest.Start(t, observetest.Synthetic(3, 20, now)...)
//	source, err := observe.New(observe.Config{REST: srv.Config()})
//	srv.Down() // source.Snapshot then shows a lost connection
package observetest
