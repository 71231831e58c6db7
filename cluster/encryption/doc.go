// Package encryption knows the file that tells the API server how objects are encrypted in etcd, and the steps that change
// it while the cluster runs: another key, another provider, other resources, or none.
//
// The file is the only state of such a change. Next looks at the file and says which step comes next, so that a change which was
// interrupted anywhere is finished by asking Next again.
package encryption
