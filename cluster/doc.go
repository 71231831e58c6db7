// Package cluster is the vocabulary of kl: what a cluster is ([Spec]), where it lives on disk ([Layout]), what makes its
// nodes ([Driver]), what its control plane says about itself ([Status], asked through [Client]), and what went wrong
// ([Error]). It knows nothing about Docker, runc or the Kubernetes components. Package
// host has the verbs.
package cluster
