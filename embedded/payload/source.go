package payload

import "io"

// source is where the archive comes from.
type source struct {
	sha    string // hex sha256 that the archive must have
	open   func() (io.ReadCloser, error)
	engine string // kl-engine to run on this machine instead of the archive's; empty: none
}
