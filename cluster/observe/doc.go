// Package observe reads the state of a running cluster: shared informers, the metrics API and kl's own status socket make one
// immutable [Snapshot], and pure functions of a snapshot answer the questions people have: how far a rollout is and why it
// is stuck ([Rollouts]), what a pod is doing ([PodStateOf]), how full a node is ([Nodes]).
//
// It works with any cluster of a kubeconfig. What only kl has (component states, audit log, live verdicts) is nil elsewhere. A
// lost connection never removes data: Conn shows the loss, and the source tries until the server answers again.
package observe
