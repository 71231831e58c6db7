package dns_test

import (
	"context"

	"github.com/klkube/kl/embedded/node/dns"
)

// What `kl-engine dns` does in a pod.
func Example() {
	dns.StripFlags()
	ctx := context.Background() // done on SIGTERM
	if err := dns.Run(ctx, "/etc/coredns/Corefile"); err != nil {
		panic(err)
	}
}
