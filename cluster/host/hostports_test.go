package host

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

func TestCheckHostPorts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := cluster.Port{Host: ln.Addr().(*net.TCPAddr).Port, Node: 80}
	publishing := func(p ...cluster.Port) cluster.Spec {
		return cluster.Spec{Nodes: []cluster.NodeGroup{{Count: 1, Ports: p}}}
	}
	addr := taken
	addr.Address = "192.0.2.7"
	udp := taken
	udp.Protocol = "udp"
	api := publishing(cluster.Port{Host: 6443, Node: 80, Address: "0.0.0.0"})
	api.Kubernetes.APIServerPort = 6443
	for _, tt := range []struct {
		name            string
		spec, published cluster.Spec
		want            string
	}{
		{name: "taken", spec: publishing(taken), want: fmt.Sprintf("port 80 of a node is not published at %s: process %d", taken.HostAddress(), os.Getpid())},
		{name: "another's address", spec: publishing(addr), want: "192.0.2.7 is not an address of this machine"},
		{name: "the API's port", spec: api, want: "nodes[0].ports[0].host: tcp port 6443 is taken by kubernetes.apiServerPort"},
		{name: "ours already", spec: publishing(taken), published: publishing(taken)},
		{name: "the driver's", spec: publishing(udp)},
		{name: "none", spec: publishing()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var said []string
			checkHostPorts(tt.spec, tt.published, func(s string) { said = append(said, s) })
			if got := strings.Join(said, "\n"); (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("warned %q, want %q", got, tt.want)
			}
		})
	}
}
