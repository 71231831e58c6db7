// Package bundle writes images for machines without a network into one file, and finds out which images manifests need:
//
//	refs, err := bundle.Refs("app.yaml", data) // docker.io/library/app:1, asked for at app.yaml:12
//	// find an images.Source for each
//	err = bundle.Write(ctx, out, items, nil)
//
// The file is an OCI layout in a tar, compressed with zstd, which package images reads as any other archive. A layer is in it once.
package bundle
