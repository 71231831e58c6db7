// Package dns is CoreDNS with the plugins that a cluster needs, run as `kl-engine dns` in the pods of kube-system/coredns.
//
// The plugins are errors, log, health, ready, kubernetes, forward, cache, loadbalance, reload, hosts, rewrite, template and
// bind. A Corefile with any other plugin is refused with an error that names the plugin.
package dns

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"

	// The order of the plugins in a server is that of dnsserver.Directives.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/template"
)

// Run serves the Corefile until ctx is done, then stops after the lameduck time of the plugin health. It can be called once in
// a process.
func Run(ctx context.Context, corefile string) error {
	dnsserver.Quiet = true
	caddy.Quiet = true
	load := func(serverType string) (caddy.Input, error) {
		contents, err := os.ReadFile(corefile)
		if err != nil {
			return nil, err
		}
		return caddy.CaddyfileInput{Contents: contents, Filepath: corefile, ServerTypeName: serverType}, nil
	}
	caddy.RegisterCaddyfileLoader("kl", caddy.LoaderFunc(load)) // the plugin reload uses it too
	input, err := caddy.LoadCaddyfile("dns")
	if err != nil {
		return fmt.Errorf("read %s: %w", corefile, err)
	}
	if _, err := caddy.Start(input); err != nil {
		return fmt.Errorf("start DNS server: %w", err)
	}
	<-ctx.Done()
	var errs []error
	for _, instance := range caddy.Instances() { // a reload has replaced the first one
		errs = append(errs, instance.ShutdownCallbacks()...)
	}
	return errors.Join(append(errs, caddy.Stop())...)
}

// StripFlags removes the flags that CoreDNS adds to Go's global flag set: other components of this binary pass that set to
// their own commands, where flags such as version have another meaning. Call it first in main.
func StripFlags() {
	ours := map[string]bool{
		"conf": true, "plugins": true, "pidfile": true, "version": true, "quiet": true, "log-format": true,
		"dns.port": true, "p": true,
	}
	kept := flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	flag.VisitAll(func(f *flag.Flag) {
		if !ours[f.Name] {
			kept.Var(f.Value, f.Name, f.Usage)
		}
	})
	flag.CommandLine = kept
}
