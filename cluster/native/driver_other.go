//go:build !linux

package native

import (
	"context"

	"github.com/klkube/kl/cluster"
)

// Driver exists on Linux only.
type Driver struct{ cluster.Driver }

// New returns an error that wraps [cluster.ErrNoEngine].
func New(context.Context, Options) (*Driver, error) {
	return nil, &cluster.Error{
		Op: "make nodes without an engine", Err: cluster.ErrNoEngine,
		Hint: "that works on Linux only: install Docker, or make an API-only cluster with --nodes 0",
	}
}

// Supervise is for Linux only.
func Supervise(context.Context, string) int { return 1 }
