// Package payload holds what nodes are made of: one deterministic archive, payload.tar.zst, with the root file system
// of a node (kl-engine, runc, CNI plugins, nft, …) and a manifest of every file in it. It is unpacked once per version to
// $KL_HOME/payload/<sha256>/ and used from there.
//
//	p, err := payload.Ensure(ctx, home) // microseconds when already unpacked
//	cmd := exec.CommandContext(ctx, p.Engine, "control-plane", "--dir", layout.Dir())
//
// Built with the tag "payload", the program carries the archive; without it, the archive is looked for beside the
// executable, as `make build` leaves it in bin/. mkpayload makes the archive.
package payload
