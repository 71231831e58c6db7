// Package observetest has a small API server for tests of what observes a cluster and acts on it: lists, watches, patches
// and deletes of real objects over real HTTP, in JSON and protobuf. It can go away and come back, refuse what a user may
// not do, and hold thousands of objects made by [Synthetic].
//
//	srv := observetest.Start(t, observetest.Synthetic(3, 20, now)...)
//	src, err := observe.New(observe.Config{REST: srv.Config()})
//	…
//	srv.Down()
package observetest
