package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/knftables"
)

func testNode(name, ip, cidr string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDR: cidr}}
	if ip != "" {
		n.Status.Addresses = []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: ip},
		}
	}
	return n
}

func to(dst, via string) route {
	r := route{dst: netip.MustParsePrefix(dst)}
	if via != "" {
		r.via = netip.MustParseAddr(via)
	}
	return r
}

var compareRoute = cmp.Comparer(func(a, b route) bool { return a == b })

func TestWantedRoutes(t *testing.T) {
	dual := testNode("n4", "fd00::4", "fd00:1::/64")
	dual.Spec.PodCIDRs = []string{"fd00:1::/64", "10.244.4.0/24"}
	dual.Status.Addresses = append(dual.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "10.0.0.4"})
	got := wantedRoutes("n1", []*corev1.Node{
		testNode("n2", "10.0.0.2", "10.244.2.0/24"),
		testNode("n1", "", "10.244.1.0/24"), // its own: no address needed
		testNode("new", "10.0.0.9", ""),     // no range yet
		testNode("n3", "", "10.244.3.0/24"), // no address yet
		testNode("bad", "10.0.0.8", "nonsense"),
		dual,
	})
	want := []route{to("10.244.1.0/24", ""), to("10.244.2.0/24", "10.0.0.2"), to("10.244.4.0/24", "10.0.0.4")}
	if diff := cmp.Diff(want, got, compareRoute); diff != "" {
		t.Error(diff)
	}
}

func TestRouteChanges(t *testing.T) {
	a, b, c := to("10.244.1.0/24", "10.0.0.1"), to("10.244.2.0/24", "10.0.0.2"), to("10.244.3.0/24", "")
	moved := to("10.244.2.0/24", "10.0.0.7")
	for _, tt := range []struct {
		name                    string
		have, want, add, remove []route
	}{
		{"nothing", nil, nil, nil, nil},
		{"first", nil, []route{a, c}, []route{a, c}, nil},
		{"same", []route{c, a}, []route{a, c}, nil, nil},
		{"node gone", []route{a, b}, []route{a}, nil, []route{b}},
		{"address moved", []route{a, b}, []route{a, moved}, []route{moved}, []route{b}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			add, remove := routeChanges(tt.have, tt.want)
			if diff := cmp.Diff([][]route{tt.add, tt.remove}, [][]route{add, remove}, compareRoute); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRouteSurvivesTheKernel(t *testing.T) {
	for _, r := range []route{to("10.244.2.0/24", "10.0.0.2"), to("10.244.1.0/24", "")} {
		if got := fromKernel(*r.kernel()); got != r {
			t.Errorf("got %+v, want %+v", got, r)
		}
	}
}

func TestMasquerade(t *testing.T) {
	fake := knftables.NewFake(knftables.IPv4Family, masqueradeTable)
	first := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	for _, nodes := range [][]netip.Addr{first, first[:1]} { // the second time n2 is gone
		if err := writeMasquerade(t.Context(), fake, "10.244.0.0/16", nodes); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.TrimPrefix(`
add table ip kl
add chain ip kl postrouting { type nat hook postrouting priority 100 ; }
add set ip kl nodes { type ipv4_addr ; }
add rule ip kl postrouting ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 ip daddr != @nodes masquerade
add element ip kl nodes { 10.0.0.1 }
`, "\n")
	if diff := cmp.Diff(want, fake.Dump()); diff != "" {
		t.Error(diff)
	}
}

func TestNetworkSignals(t *testing.T) {
	n := newNetwork(testConfig(), testUplink(1500), nil)
	closed := func(c chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	ready := testNode("n1", "10.0.0.1", "")
	ready.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(time.Now()),
	}}
	stale := ready.DeepCopy() // the last status of a node that was killed
	stale.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(time.Now().Add(-time.Hour))
	for _, step := range []struct {
		name           string
		node           *corev1.Node
		hasNode, ready bool
	}{
		{"another node", testNode("n2", "10.0.0.2", ""), false, false},
		{"registered", testNode("n1", "", ""), false, false},
		{"ready in an earlier run", stale, true, false},
		{"ready", ready, true, true},
		{"ready again", ready, true, true},
	} {
		n.self([]*corev1.Node{step.node})
		if got := [2]bool{closed(n.hasNode), closed(n.nodeReady)}; got != [2]bool{step.hasNode, step.ready} {
			t.Errorf("%s: hasNode, nodeReady closed = %v", step.name, got)
		}
	}
}

func testUplink(mtu int) uplink { return uplink{"eth0", netip.MustParseAddr("172.18.0.2"), mtu} }

func TestCNIConfig(t *testing.T) {
	got, err := cniConfig(netip.MustParsePrefix("10.244.3.0/24"), testUplink(1450), true)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/10-kl.conflist")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestReplaceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, step := range []struct {
		data    string
		changed bool
	}{{"one", true}, {"one", false}, {"two", true}} {
		changed, err := replaceFile(path, []byte(step.data), 0o644)
		if err != nil || changed != step.changed {
			t.Errorf("write %q: changed %t, err %v", step.data, changed, err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, err %v", len(entries), err)
	}
	if _, err := replaceFile(filepath.Join(path, "below a file"), nil, 0o644); err == nil {
		t.Error("no error")
	}
}
