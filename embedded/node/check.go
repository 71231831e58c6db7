package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// Check judges a node's configuration as kubelet and kube-proxy would when they start: flags, feature gates and the
// kubelet's configuration. What depends on the machine shows only in the node. Check works once a process, since feature gates
// belong to the process.
func Check(config cluster.NodeConfig, log *slog.Logger) error {
	k := &kubelet{config: config, ip: netip.IPv4Unspecified(), log: log}
	var errs []error
	err := lifecycle.Guard(func() error { _, err := k.server(); return err })
	if err != nil {
		errs = append(errs, fmt.Errorf("kubelet: %w", err))
	}
	err = lifecycle.Guard(func() error { _, err := proxyOptions(config); return err })
	if err != nil {
		errs = append(errs, fmt.Errorf("kube-proxy: %w", err))
	}
	return errors.Join(errs...)
}
