package docker

import (
	"net"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/klkube/kl/cluster"
)

// privileges knows how nodes get the privileges they need from an engine.
//
// A node is a privileged container where possible. Some machines lack a capability (CAP_SYS_RESOURCE in many sandboxes), so
// that their engines cannot start any privileged container: "unable to apply caps: operation not permitted". There a node
// gets each of the settings that "privileged" stands for, except the missing capabilities.
type privileges struct {
	host string // of the engine

	mu      sync.Mutex
	decided bool
	missing []string // capabilities that nodes do not get; none means privileged
}

// missingCaps returns the capabilities that nodes do not get. It finds them in the engine's process, if that is local.
func (p *privileges) missingCaps() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.decided {
		p.decided = true
		if path, ok := strings.CutPrefix(p.host, "unix://"); ok {
			if pid := peer(path); pid != 0 {
				_, p.missing, _ = cluster.Capabilities(pid) // an error is as good as none missing: refused will find out
			}
		}
	}
	return p.missing
}

// refused records an error of starting a container that was to lack some capabilities. It reports whether it was privileged and the
// engine refused that, so that it is worth trying again.
func (p *privileges) refused(err error, lacked []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(lacked) > 0 || !strings.Contains(err.Error(), "unable to apply caps") && !strings.Contains(err.Error(), "unable to apply bounding set") {
		return false
	}
	p.decided, p.missing = true, []string{"SYS_RESOURCE"} // the one that is missing in practice
	return true
}

// apply sets the privileges in a container's configuration.
func (p *privileges) apply(h *container.HostConfig) {
	h.SecurityOpt = []string{"label=disable"}
	missing := p.missingCaps()
	if len(missing) == 0 {
		h.Privileged = true
		return
	}
	h.CapAdd, h.CapDrop = []string{"ALL"}, missing
	h.SecurityOpt = append(h.SecurityOpt, "seccomp=unconfined", "apparmor=unconfined")
	h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{} // what systempaths=unconfined means in the API
	h.DeviceCgroupRules = []string{"a *:* rwm"}
}

// peer returns the process that listens on a unix socket, 0 if that is unknown (another PID namespace, no access).
func peer(socket string) int {
	conn, err := net.DialTimeout("unix", socket, time.Second) //nolint:noctx // a local socket connects at once or not at all
	if err != nil {
		return 0
	}
	defer conn.Close()
	return peerPID(conn.(*net.UnixConn))
}
