package main

import (
	"context"
	"flag"

	"github.com/klkube/kl/embedded/node/dns"
)

func runDNS(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("dns", flag.ContinueOnError)
	conf := fs.String("conf", "Corefile", "Corefile to serve")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return dns.Run(ctx, *conf)
}
