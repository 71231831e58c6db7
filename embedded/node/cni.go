package node

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// cniFile is where containerd looks for networks. It is kept over restarts: a node almost always gets the same pod range
// again, and with the file there pods start before the API server is back.
const cniFile = "/etc/cni/net.d/10-kl.conflist"

// cniAddresses is where host-local stores the addresses in use: a tmpfs, since no pod outlives the node's container.
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
		ConditionsV4 []string        `json:"conditionsV4"`
	}
	cniPolicy struct {
		Type string `json:"type"`
	}
)

// cniConfig returns the configuration of the node's pod network: a veth pair for each pod, routed by the node, with host
// ports. Those leave out the addresses of load balancers, which are addresses of nodes, too. ptp does not masquerade, because it would add a rule for each pod; the agent keeps one rule for all. With policies,
// the last plugin holds a pod back until its policies are enforced.
func cniConfig(podCIDR netip.Prefix, up uplink, policies bool) ([]byte, error) {
	first, last := cluster.LoadBalancerRange(cluster.NodeSubnet(up.addr))
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	plugins := []any{
		cniPtp{
			Type: "ptp", MTU: up.mtu,
			IPAM: cniIPAM{
				Type: "host-local", DataDir: cniAddresses,
				Ranges: [][]cniRange{{{Subnet: podCIDR}}},
				Routes: []cniRoute{{Dst: everywhere}},
			},
		},
		cniPortmap{
			Type: "portmap", Capabilities: map[string]bool{"portMappings": true}, Backend: "nftables", SNAT: true,
			ConditionsV4: []string{"ip", "daddr", "!=", first.String() + "-" + last.String()},
		},
	}
	if policies {
		plugins = append(plugins, cniPolicy{Type: cniPolicyType})
	}
	return json.MarshalIndent(cniNetwork{Version: "1.0.0", Name: "kl", Plugins: plugins}, "", "  ")
}

// replaceFile makes the file hold data, unless it does already, and reports whether it has changed.
func replaceFile(path string, data []byte, mode os.FileMode) (changed bool, err error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return false, nil
	}
	if err := statefile.Write(path, data, mode); err != nil {
		return false, err
	}
	return true, nil
}
