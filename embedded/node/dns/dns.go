// Package dns is CoreDNS with the plugins of its stock build, run as `kl-engine dns` in the pods of kube-system/coredns.
//
// Left out are the plugins that need the libraries of a cloud or of a product: azure, clouddns, dnssec, etcd, geoip, nomad,
// route53, tls and trace. A Corefile with one of them is refused with an error that names the plugin.
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
	_ "github.com/coredns/caddy/onevent"
	_ "github.com/coredns/coredns/plugin/acl"
	_ "github.com/coredns/coredns/plugin/any"
	_ "github.com/coredns/coredns/plugin/auto"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/bufsize"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/cancel"
	_ "github.com/coredns/coredns/plugin/chaos"
	_ "github.com/coredns/coredns/plugin/debug"
	_ "github.com/coredns/coredns/plugin/dns64"
	_ "github.com/coredns/coredns/plugin/dnstap"
	_ "github.com/coredns/coredns/plugin/dynupdate"
	_ "github.com/coredns/coredns/plugin/erratic"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/grpc"
	_ "github.com/coredns/coredns/plugin/grpc_server"
	_ "github.com/coredns/coredns/plugin/header"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/https"
	_ "github.com/coredns/coredns/plugin/https3"
	_ "github.com/coredns/coredns/plugin/k8s_external"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/local"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metadata"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/minimal"
	_ "github.com/coredns/coredns/plugin/multisocket"
	_ "github.com/coredns/coredns/plugin/nsid"
	_ "github.com/coredns/coredns/plugin/pprof"
	_ "github.com/coredns/coredns/plugin/proxyproto"
	_ "github.com/coredns/coredns/plugin/quic"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/root"
	_ "github.com/coredns/coredns/plugin/secondary"
	_ "github.com/coredns/coredns/plugin/shed"
	_ "github.com/coredns/coredns/plugin/sign"
	_ "github.com/coredns/coredns/plugin/siit"
	_ "github.com/coredns/coredns/plugin/template"
	_ "github.com/coredns/coredns/plugin/timeouts"
	_ "github.com/coredns/coredns/plugin/transfer"
	_ "github.com/coredns/coredns/plugin/tsig"
	_ "github.com/coredns/coredns/plugin/view"
	_ "github.com/coredns/coredns/plugin/whoami"
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
