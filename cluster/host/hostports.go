package host

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
)

// checkHostPorts warns of host ports that cannot be listened on, with the reason. The control plane runs without them and keeps
// trying. The ports of published belong to the control plane that is running.
func checkHostPorts(s, published cluster.Spec, warn func(string)) {
	for _, c := range config.PortClashes(s, s.Kubernetes.APIServerPort) { // of a cluster.yaml that was edited
		warn(c.String())
	}
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
		warn(fmt.Sprintf("port %d of a node is not published at %s: %s", p.Node, p.HostAddress(), whyNotListen(p, err)))
	}
}

// whyNotListen says what an error of net.Listen means and what helps.
func whyNotListen(p cluster.Port, err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		who := "another process"
		if pid, name := listener(p.Host); pid != 0 {
			who = fmt.Sprintf("process %d (%s)", pid, name)
		}
		return who + " has it; it will be published once the port is free"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("%s is not an address of this machine; it will be published once the machine has the address, or set another one in kl.yaml",
			p.ListenAddress())
	case errors.Is(err, syscall.EACCES):
		return "ports below net.ipv4.ip_unprivileged_port_start are root's; choose a higher host port in kl.yaml, or run kl as root"
	}
	return err.Error()
}
