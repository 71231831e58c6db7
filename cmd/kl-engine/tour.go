package main

import (
	"context"
	"flag"
	"io"
	"os"

	"k8s.io/klog/v2"

	"github.com/klkube/kl/embedded/tour"
	"github.com/klkube/kl/embedded/tour/audit"
	"github.com/klkube/kl/embedded/tour/csr"
	"github.com/klkube/kl/embedded/tour/extender"
	"github.com/klkube/kl/embedded/tour/kms"
	"github.com/klkube/kl/embedded/tour/notes"
	"github.com/klkube/kl/embedded/tour/resources"
	"github.com/klkube/kl/embedded/tour/traffic"
	"github.com/klkube/kl/embedded/tour/webhook"
)

// runTour is the tour role. What upstream's libraries log goes to standard error if it is an error, and nowhere else.
func runTour(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(fs)
	if err := fs.Parse([]string{"-logtostderr=false", "-stderrthreshold=ERROR"}); err != nil {
		return err
	}
	klog.SetOutput(io.Discard)
	return tour.Run(ctx, tourPrograms(), args, os.Stdout)
}

// tourPrograms are the programs that scenarios of kl tour run in pods.
func tourPrograms() []tour.Program {
	return []tour.Program{
		traffic.Serve(), traffic.Get(), traffic.Load(),
		resources.Burn(), resources.Grow(), resources.Keep(), resources.Fill(), notes.APIServer(),
		webhook.Webhook(), extender.Extender(), audit.Sink(), kms.Plugin(), csr.Request(),
	}
}
