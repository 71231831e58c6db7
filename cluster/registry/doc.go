// Package registry is the registry that all clusters of a home share: an OCI registry on 127.0.0.1 to push to, and a cache of what was
// pulled from others.
//
//	store := registry.Open(home)
//	defer store.Close()
//	source, pushed, err := store.Find(ctx, "localhost:5000/app:dev")  // or cluster.ErrNoImage
//	source, err = store.Pull(ctx, "nginx:1.29", nil)
//
// Its directory is $KL_HOME/registry, which is locked while a manifest comes in, and while blobs that none names are removed. Several
// processes use it at once, and each may be killed at any moment:
//
//	blobs/sha256/HEX           content, manifests included; written elsewhere, synced and renamed
//	uploads/ID                 what a client is sending
//	partial/sha256:HEX         what is being downloaded; a download that was cut off goes on from there
//	repositories/REPO/tags/TAG            what a tag stands for, with '+' for '/' in names
//	repositories/REPO/manifests/DIGEST    which manifests a repository has
//	upstream/HOST+REPO/…                  the same for what was pulled from another registry
//	serving                    locked by the process that listens; port is where, and where it has listened before
package registry
