package dns

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"
)

// TestRun serves a Corefile and stops. A process runs one server, so this is the only test of Run.
func TestRun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	corefile := filepath.Join(t.TempDir(), "Corefile")
	text := fmt.Sprintf(".:%d {\n bind 127.0.0.1\n errors\n cache 30\n loadbalance\n rewrite name a.test b.test\n hosts {\n 10.1.2.3 b.test\n }\n}\n", port)
	if err := os.WriteFile(corefile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, corefile) }()

	client := &dns.Client{Net: "tcp", Timeout: time.Second}
	query := new(dns.Msg)
	query.SetQuestion("a.test.", dns.TypeA)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, _, err := client.ExchangeContext(ctx, query, address)
		if err == nil {
			if len(answer.Answer) != 1 || answer.Answer[0].(*dns.A).A.String() != "10.1.2.3" {
				t.Errorf("answer = %v", answer)
			}
			break
		}
		select {
		case <-tick.C:
		case err := <-done:
			t.Fatalf("Run() = %v before it answered", err)
		case <-ctx.Done():
			t.Fatalf("no answer: %v", err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v, want a clean stop", err)
	}
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
}

// TestStockCorefile parses each directive that the Corefiles of other distributions use.
func TestStockCorefile(t *testing.T) {
	known := caddy.ListPlugins()["others"] // each as "dns.NAME"
	for _, name := range []string{
		"acl", "any", "auto", "autopath", "bind", "bufsize", "cache", "cancel", "chaos", "debug", "dns64", "dnstap", "errors", "file", "forward",
		"grpc", "header", "health", "hosts", "k8s_external", "kubernetes", "loadbalance", "local", "log", "loop", "metadata", "minimal",
		"multisocket", "nsid", "pprof", "prometheus", "ready", "reload", "rewrite", "root", "secondary", "sign", "template", "transfer",
		"tsig", "view", "whoami",
	} {
		if !slices.Contains(known, "dns."+name) {
			t.Errorf("there is no plugin %s", name)
		}
		if !slices.Contains(dnsserver.Directives, name) {
			t.Errorf("plugin %s has no place in the order of plugins", name)
		}
	}
}

func TestStripFlags(t *testing.T) {
	before := flag.CommandLine
	defer func() { flag.CommandLine = before }()
	if flag.Lookup("conf") == nil || flag.Lookup("test.v") == nil {
		t.Fatal("CoreDNS' or the test's flags are not there to begin with")
	}
	StripFlags()
	if flag.Lookup("conf") != nil || flag.Lookup("version") != nil || flag.Lookup("p") != nil {
		t.Error("CoreDNS' flags are still there")
	}
	if flag.Lookup("test.v") == nil {
		t.Error("a flag that is not CoreDNS' is gone")
	}
}
