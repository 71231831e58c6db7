package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/policy"
)

func logged(kind logKind, id string, fromPort uint16) packet {
	return packet{
		prefix: logPrefix{kind, policy.Ingress, id}, protocol: corev1.ProtocolTCP, fromPort: fromPort, port: 80,
		from: netip.MustParseAddr("10.244.1.10"), to: netip.MustParseAddr("10.244.1.20"),
	}
}

// TestJournal: retries of a connection are packets of one denial, and only the last denials are kept.
func TestJournal(t *testing.T) {
	clock := time.Unix(1000, 0)
	j := newJournal("n1", 10, func() time.Time { return clock }, nil)
	_, more := j.after(0)
	j.add(logged(logUnknown, "", 1))
	select {
	case <-more:
	default:
		t.Error("a watcher was not notified of the first denial")
	}
	j.add(logged(logUnknown, "", 1))
	denials, _ := j.after(0)
	want := []policy.Denial{{
		Seq: 1, Time: clock, Node: "n1", Direction: policy.Ingress, From: "10.244.1.10", To: "10.244.1.20",
		FromAddr: netip.MustParseAddr("10.244.1.10"), ToAddr: netip.MustParseAddr("10.244.1.20"), Protocol: "TCP", Port: 80,
		Reason: "the pod's address was not programmed yet", Packets: 2,
	}}
	if diff := cmp.Diff(want, denials, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("denials (-want +got):\n%s", diff)
	}
	for i := range 100 {
		j.add(logged(logUnknown, "", uint16(i+2)))
	}
	denials, _ = j.after(0)
	if len(denials) > 10 || len(denials) < 5 || denials[len(denials)-1].Seq != 101 || len(j.recent) != len(denials) {
		t.Errorf("%d denials and %d flows kept, last is %d", len(denials), len(j.recent), denials[len(denials)-1].Seq)
	}
	if denials, _ = j.after(100); len(denials) != 1 {
		t.Errorf("%d denials after 100", len(denials))
	}
	pairs, _ := j.pairCounters()
	if len(pairs) != 1 || pairs[0].Denied != 101 {
		t.Errorf("pairs %+v", pairs)
	}
}

// TestPairsAreBounded: memory for pairs has a limit, and a pair in use is not forgotten.
func TestPairsAreBounded(t *testing.T) {
	j := newJournal("n1", 10, time.Now, nil)
	for i := range 20 * pairsKept {
		p := logged(logAllowed, "", 1)
		p.from = netip.AddrFrom4([4]byte{1, byte(i >> 16), byte(i >> 8), byte(i)})
		j.add(p)
		if i%100 == 0 {
			j.add(logged(logAllowed, "", 1))
		}
	}
	pairs, _ := j.pairCounters()
	if len(pairs) > 2*pairsKept {
		t.Errorf("%d pairs kept", len(pairs))
	}
	for _, p := range pairs {
		if p.From == "10.244.1.10" {
			if p.Allowed != 20*pairsKept/100+1 {
				t.Errorf("counted %d connections of the pair in use", p.Allowed)
			}
			return
		}
	}
	t.Error("the pair in use was forgotten")
}

func TestParseLog(t *testing.T) {
	ip := []byte{0x46, 0, 0, 64, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 1, 0x30, 0x39, 0, 80}
	message := func(prefix string, payload []byte) netlink.Message {
		attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: ulogPrefix, Data: []byte(prefix + "\x00")}, {Type: ulogPayload, Data: payload}})
		if err != nil {
			t.Fatal(err)
		}
		return netlink.Message{Header: netlink.Header{Type: ulogPacket}, Data: append([]byte{2, 0, 0, 1}, attrs...)}
	}
	prefix := logPrefix{logDenied, policy.Egress, "0123456789ab"}
	got, ok := parseLog(message(prefix.String(), ip))
	want := packet{prefix, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), 12345, 80, "TCP", 0}
	if !ok || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for name, m := range map[string]netlink.Message{
		"another type": {Header: netlink.Header{Type: ulogConfig}, Data: make([]byte, 8)}, "nothing": {Header: netlink.Header{Type: ulogPacket}},
		"another prefix": message("other program: ", ip), "cut off": message(prefix.String(), ip[:19]), "IPv6": message(prefix.String(), append([]byte{0x60}, ip...)),
	} {
		if p, ok := parseLog(m); ok {
			t.Errorf("%s: understood as %+v", name, p)
		}
	}
	spoofed := logPrefix{logSpoofed, policy.Egress, ""}
	ip6 := append([]byte{0x60, 0, 0, 0, 0, 8, 17, 64}, append(make([]byte, 31), 9, 0x30, 0x39, 0, 53)...)
	arp := []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 2, 2, 2, 2, 2, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2}
	for want, payload := range map[packet][]byte{
		{spoofed, netip.IPv6Unspecified(), netip.MustParseAddr("::9"), 0, 53, "UDP", 0}:                  ip6,
		{spoofed, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), 0, 0, "ARP", 0}:      arp,
		{spoofed, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), 12345, 80, "TCP", 0}: ip,
	} {
		if p, ok := parseLog(message(spoofed.String(), payload)); !ok || p != want {
			t.Errorf("spoofed: got %+v, %v, want %+v", p, ok, want)
		}
		if p, ok := parseLog(message(spoofed.String(), payload[:19])); ok {
			t.Errorf("cut off: understood as %+v", p)
		}
	}
	if p, ok := parseLog(message(prefix.String(), ip[:24])); !ok || p.port != 0 {
		t.Errorf("without ports: %+v, %v", p, ok)
	}
	if n := len(prefix.String()); n > 127 || strings.ContainsAny(prefix.String(), `"\`) {
		t.Errorf("prefix %q does not fit", prefix)
	}
}

// TestSpoofedSender: the journal names the pod that sent a packet, not the one whose address is in it.
func TestSpoofedSender(t *testing.T) {
	senders := map[uint32]netip.Addr{7: netip.MustParseAddr("10.244.1.30")}
	j := newJournal("n1", 10, time.Now, func(link uint32) netip.Addr { return senders[link] })
	for i := range 3 {
		p := logged(logSpoofed, "", uint16(i))
		p.prefix.direction, p.link = policy.Egress, 7
		j.add(p)
	}
	gone := logged(logSpoofed, "", 1)
	gone.link = 8
	j.add(gone)
	denials, _ := j.after(0)
	if len(denials) != 2 {
		t.Fatalf("%d denials, want one for each sender: %+v", len(denials), denials)
	}
	d := denials[0]
	if d.From != "10.244.1.30" || d.FromAddr != senders[7] || d.Packets != 3 || d.Reason != "spoofed, sent with the address 10.244.1.10" {
		t.Errorf("got %+v", d)
	}
	if d := denials[1]; d.From != "a pod that is gone" {
		t.Errorf("got %+v", d)
	}
}
