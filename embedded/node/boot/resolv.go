package boot

import (
	"errors"
	"net/netip"
	"os"
	"strings"
)

// dockerDNS is where Docker answers names in networks that users make. It exists in the container's own network
// namespace only.
const dockerDNS = "127.0.0.11"

// podResolvConf rewrites the node's resolv.conf for pods. Resolvers on the node's loopback address do not exist in a
// pod's namespace and are dropped. If nothing is left, pods ask the relay on the gateway address, and upstream tells what
// the relay forwards to; that works for Docker's resolver alone, since another loopback address is the host's, not ours.
// With no gateway the result has no nameserver at all: names outside the cluster then fail at once, not after a timeout.
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

// writeResolvConf writes ResolvConf and returns the relay's upstream, if it is needed.
func (m *Machine) writeResolvConf() (upstream string, err error) {
	node, err := os.ReadFile(m.path("/etc/resolv.conf"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	conf, upstream := podResolvConf(string(node), m.Gateway)
	return upstream, os.WriteFile(m.path(ResolvConf), []byte(conf), 0o644)
}
