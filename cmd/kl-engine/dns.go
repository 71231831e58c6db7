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
	probes, err := dns.Inherited()
	if err != nil {
		return err
	}
	if probes != nil {
		go dns.ServeReadiness(ctx, probes, dns.ReadyURL)
	}
	return dns.Run(ctx, *conf)
}
