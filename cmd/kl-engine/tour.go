package main

import (
	"context"
	"os"

	"github.com/klkube/kl/embedded/tour"
	"github.com/klkube/kl/embedded/tour/audit"
	"github.com/klkube/kl/embedded/tour/extender"
	"github.com/klkube/kl/embedded/tour/resources"
	"github.com/klkube/kl/embedded/tour/traffic"
	"github.com/klkube/kl/embedded/tour/webhook"
)

func runTour(ctx context.Context, args []string) error {
	return tour.Run(ctx, tourPrograms(), args, os.Stdout)
}

// tourPrograms are the programs that scenarios of kl tour run in pods.
func tourPrograms() []tour.Program {
	return []tour.Program{
		traffic.Serve(), traffic.Get(), traffic.Load(),
		resources.Burn(), resources.Grow(), resources.Keep(), resources.Fill(),
		webhook.Webhook(), extender.Extender(), audit.Sink(),
	}
}
