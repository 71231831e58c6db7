// Package observe turns a running cluster into values: shared informers, the metrics API and kl's own status socket feed
// one immutable [Snapshot], and pure functions over snapshots say what a person wants to know: how far a rollout is and
// why it is stuck ([Rollouts]), what a pod is doing in words ([PodState]), how full a node is ([Nodes]).
//
//	src, err := observe.New(observe.Config{REST: restConfig})
//	if err != nil {
//		return err
//	}
//	go src.Run(ctx)
//	for {
//		snap, changed := src.Snapshot()
//		for _, r := range observe.Rollouts(snap, time.Now()) {
//			fmt.Println(r.Namespace, r.Name, r.State, r.Why)
//		}
//		select {
//		case <-changed: // at most ten times a second
//		case <-ctx.Done():
//			return ctx.Err()
//		}
//	}
//
// Any cluster of a kubeconfig will do. What needs kl (component states, audit log, live verdicts) is nil elsewhere.
// A lost connection never removes data: the snapshot says so in Conn, and the source retries until it is back.
package observe
