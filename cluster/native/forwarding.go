//go:build linux

package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/netlist"
	"github.com/klkube/kl/cluster/statefile"
)

const forwardFile = "/proc/sys/net/ipv4/ip_forward"

// enableForwarding turns on IP forwarding, and remembers first that it was off. The caller holds the machine's lock.
func enableForwarding() error {
	now, err := os.ReadFile(forwardFile)
	if err != nil {
		return fmt.Errorf("read %s: %w", forwardFile, err)
	}
	former := strings.TrimSpace(string(now))
	if former == "1" {
		return nil
	}
	bridges, err := foreignBridges()
	if err != nil {
		return err
	}
	data, err := json.Marshal(cluster.Forwarding{Former: former, Bridges: bridges})
	if err != nil {
		return fmt.Errorf("encode the machine's settings: %w", err)
	}
	if err := statefile.Write(cluster.ForwardingFile("/"), data, 0o644); err != nil {
		return fmt.Errorf("remember that IP forwarding is off: %w", err)
	}
	if err := os.WriteFile(forwardFile, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("turn on IP forwarding: %w", err)
	}
	return nil
}

// restoreForwarding turns IP forwarding off again if kl turned it on, no cluster is left on the machine, and no other program has
// made a bridge meanwhile, as Docker does: it would have found forwarding on and rely on it. The caller holds the machine's lock.
func restoreForwarding() error {
	file := cluster.ForwardingFile("/")
	data, err := statefile.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("restore IP forwarding: %w", err)
	}
	links, err := bridges()
	if err != nil || slices.ContainsFunc(links, ownBridge) {
		return err
	}
	var before cluster.Forwarding
	if json.Unmarshal(data, &before) == nil && before.Former != "" && !slices.ContainsFunc(links, func(name string) bool {
		return !slices.Contains(before.Bridges, name)
	}) {
		if err := os.WriteFile(forwardFile, []byte(before.Former), 0o644); err != nil {
			return fmt.Errorf("restore IP forwarding: %w", err)
		}
	}
	if err := os.Remove(file); err != nil {
		return fmt.Errorf("restore IP forwarding: %w", err)
	}
	return nil
}

// ownBridge reports whether a bridge is that of a cluster, of whatever home: see scope.bridge.
func ownBridge(name string) bool { return strings.HasPrefix(name, "kl-") }

func foreignBridges() ([]string, error) {
	all, err := bridges()
	return slices.DeleteFunc(all, ownBridge), err
}

// bridges returns the names of all bridges of the network namespace.
func bridges() ([]string, error) {
	links, err := netlist.Whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := []string{}
	for _, l := range links {
		if l.Type() == "bridge" {
			names = append(names, l.Attrs().Name)
		}
	}
	return names, nil
}
