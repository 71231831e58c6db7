package host

import (
	"fmt"
	"net"
	"slices"

	"github.com/klkube/kl/cluster"
)

// checkHostPorts warns of host ports that are in use. The control plane runs without them and keeps trying to listen. The
// ports of published belong to the control plane that is running.
func checkHostPorts(s, published cluster.Spec, warn func(string)) {
	ours := published.Forwarded()
	for _, p := range s.Forwarded() {
		if slices.Contains(ours, p) {
			continue
		}
		ln, err := net.Listen("tcp", p.HostAddress()) //nolint:noctx // a local call that does not wait
		if err == nil {
			ln.Close()
			continue
		}
		who := ""
		if pid, name := listener(p.Host); pid != 0 {
			who = fmt.Sprintf(": process %d (%s) has it", pid, name)
		}
		warn(fmt.Sprintf("port %d of a node is not published at %s%s (%v); it will be once the address is free", p.Node, p.HostAddress(), who, err))
	}
}
