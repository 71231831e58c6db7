package node

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
)

// cniFile is where containerd looks for networks. It is kept over restarts: a node almost always gets the same range
// again, and then pods start before the API is back.
const cniFile = "/etc/cni/net.d/10-kl.conflist"

// cniAddresses is where addresses in use are noted: a tmpfs, since no pod outlives the node's processes.
const cniAddresses = "/run/cni/addresses"

// cniPolicyType names the plugin of package embedded/node/policy/cni.
const cniPolicyType = "kl-policy"

type (
	cniNetwork struct {
		Version string `json:"cniVersion"`
		Name    string `json:"name"`
		Plugins []any  `json:"plugins"`
	}
	cniPtp struct {
		Type   string  `json:"type"`
		IPMasq bool    `json:"ipMasq"`
		MTU    int     `json:"mtu"`
		IPAM   cniIPAM `json:"ipam"`
	}
	cniIPAM struct {
		Type    string       `json:"type"`
		DataDir string       `json:"dataDir"`
		Ranges  [][]cniRange `json:"ranges"`
		Routes  []cniRoute   `json:"routes"`
	}
	cniRange struct {
		Subnet netip.Prefix `json:"subnet"`
	}
	cniRoute struct {
		Dst netip.Prefix `json:"dst"`
	}
	cniPortmap struct {
		Type         string          `json:"type"`
		Capabilities map[string]bool `json:"capabilities"`
		Backend      string          `json:"backend"`
		SNAT         bool            `json:"snat"`
	}
	cniPolicy struct {
		Type string `json:"type"`
	}
)

// cniConfig is the pod network of one node: a veth pair a pod, routed by the node, with host ports. Masquerading is not
// the plugin's: it would make a rule a pod; the agent keeps one for all.
// Where policies are enforced, a plugin at the end holds a pod back until its own are.
func cniConfig(podCIDR netip.Prefix, mtu int, policies bool) ([]byte, error) {
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	plugins := []any{
		cniPtp{
			Type: "ptp", MTU: mtu,
			IPAM: cniIPAM{
				Type: "host-local", DataDir: cniAddresses,
				Ranges: [][]cniRange{{{Subnet: podCIDR}}},
				Routes: []cniRoute{{Dst: everywhere}},
			},
		},
		cniPortmap{Type: "portmap", Capabilities: map[string]bool{"portMappings": true}, Backend: "nftables", SNAT: true},
	}
	if policies {
		plugins = append(plugins, cniPolicy{Type: cniPolicyType})
	}
	return json.MarshalIndent(cniNetwork{Version: "1.0.0", Name: "kl", Plugins: plugins}, "", "  ")
}

// replaceFile writes a file so that a reader sees the old content or the new. It tells whether anything changed.
func replaceFile(path string, data []byte, mode os.FileMode) (changed bool, err error) {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return false, nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".kl-*")
	if err != nil {
		return false, err
	}
	defer os.Remove(tmp.Name()) // fails once it was renamed
	if _, err := tmp.Write(data); err != nil {
		tmp.Close()
		return false, err
	}
	if err := tmp.Chmod(mode); err != nil {
		tmp.Close()
		return false, err
	}
	if err := tmp.Close(); err != nil {
		return false, err
	}
	return true, os.Rename(tmp.Name(), path)
}
