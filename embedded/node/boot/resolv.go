package boot

import (
	"errors"
	"net/netip"
	"os"
	"strings"
)

// dockerDNS is the address of Docker's resolver in user-defined networks. It exists only in the container's network namespace.
const dockerDNS = "127.0.0.11"

// podResolvConf returns the node's resolv.conf without resolvers on a loopback address, which do not exist in a pod's network
// namespace. If Docker's is the only resolver, pods use the relay on the gateway address, and upstream is the resolver that
// the relay forwards to; any other loopback resolver belongs to the host and cannot be reached by the node either. Without a
// gateway the result has no nameserver: names outside of the cluster fail at once instead of after a timeout.
func podResolvConf(node, gateway string) (conf, upstream string) {
	var keep, servers []string
	loopback := ""
	for line := range strings.Lines(node) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[0], ";") {
			continue
		}
		if f[0] != "nameserver" {
			keep = append(keep, strings.Join(f, " "))
			continue
		}
		if len(f) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(f[1])
		switch {
		case err != nil:
		case f[1] == dockerDNS:
			loopback = f[1]
		case addr.IsLoopback(), addr.IsUnspecified():
		default:
			servers = append(servers, "nameserver "+f[1])
		}
	}
	if len(servers) == 0 && loopback != "" && gateway != "" {
		servers, upstream = []string{"nameserver " + gateway}, loopback
	}
	lines := append(servers, keep...)
	if len(lines) == 0 {
		return "", upstream
	}
	return strings.Join(lines, "\n") + "\n", upstream
}

// writeResolvConf writes ResolvConf and returns the upstream of the relay; empty if no relay is needed.
func (m *Machine) writeResolvConf() (upstream string, err error) {
	node, err := os.ReadFile(m.path("/etc/resolv.conf"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	conf, upstream := podResolvConf(string(node), m.Gateway)
	return upstream, os.WriteFile(m.path(ResolvConf), []byte(conf), 0o644)
}
