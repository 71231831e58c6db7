// Package payload holds what nodes are made of: one deterministic archive, payload.tar.zst, with the root file system
// of a node (kl-engine, runc, CNI plugins, nft, …) and a manifest of every file in it. It is unpacked once per version to
// $KL_HOME/payload/<sha256>/ and used from there: see the example. The archive has amd64 code in the form of [Absolute], which
// compresses better and is reversed as it is unpacked.
//
// Built with the tag "payload", the program carries the archive. Built without it, the program takes the archive that lies
// beside the executable, where `make payload` leaves it, and runs the kl-engine that lies there instead of the one in the
// archive: that is how `make dev` tries out a changed engine without packing it. mkpayload makes the archive.
package payload
