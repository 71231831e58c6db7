//go:build linux

// Package clone copies the data of volumes: a directory with everything in it, or one file. The copy shares its data with the original
// where the file system can (reflinks of xfs and btrfs), and elsewhere keeps holes, so that a sparse file stays one.
//
// Pods may write to the directory meanwhile, and may try to lead the copy astray: every step opens one name in an open directory and
// follows no symbolic link, so that nothing outside of the directory is read. What changes under the copy is copied again, up to
// [Passes] times; what still changes is named in the result. Only a single file that is shared is a copy of one moment.
//
//	changed, err := clone.Tree(ctx, "/kl/volumes/pvc-1/data", "/kl/volumes/.new-2/data")
package clone
