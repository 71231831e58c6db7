package docker

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/klkube/kl/cluster"
)

// privileges remembers how nodes get the rights they need from this engine.
//
// A node is a privileged container where that works. Some machines lack a capability altogether (CAP_SYS_RESOURCE in
// many sandboxes); their engines cannot start any privileged container, "unable to apply caps: operation not
// permitted". There a node gets everything that privileged means, one by one, except the missing capabilities.
type privileges struct {
	host string // of the engine

	mu      sync.Mutex
	decided bool
	missing []string // capabilities to do without; none means privileged
}

// missingCaps returns the capabilities that nodes do without. It looks at the engine's process if it is local.
func (p *privileges) missingCaps() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.decided {
		p.decided = true
		if path, ok := strings.CutPrefix(p.host, "unix://"); ok {
			if pid := peer(path); pid != 0 {
				_, p.missing, _ = cluster.Capabilities(strconv.Itoa(pid)) // else: find out by trying
			}
		}
	}
	return p.missing
}

// refused is told that the engine could not start a privileged container. It returns false if that is no news, so that
// trying again would not help.
func (p *privileges) refused(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.missing) > 0 || !strings.Contains(err.Error(), "unable to apply caps") && !strings.Contains(err.Error(), "unable to apply bounding set") {
		return false
	}
	p.decided, p.missing = true, []string{"SYS_RESOURCE"} // the one that is missing in practice
	return true
}

// apply sets the part of a container's configuration that gives it rights.
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

// peer returns the process that listens on a unix socket, 0 if it cannot be told (another PID namespace, no access).
func peer(socket string) int {
	conn, err := net.DialTimeout("unix", socket, time.Second) //nolint:noctx // local: it connects at once or not at all
	if err != nil {
		return 0
	}
	defer conn.Close()
	return peerPID(conn.(*net.UnixConn))
}
