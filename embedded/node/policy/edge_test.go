package policy

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/policy"
)

// buildApp builds the program of the test images, which can send what the kernel would not.
func buildApp(t *testing.T) string {
	t.Helper()
	app := filepath.Join(t.TempDir(), "app")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", app, "../../../testdata/images/app").CombinedOutput(); err != nil {
		t.Fatalf("build app: %v\n%s", err, out)
	}
	return app
}

// hears reports whether a pod got a packet for a port within a short time of what send does.
func hears(t *testing.T, namespace, filter string, send func()) bool {
	t.Helper()
	// A table in the pod counts what arrives: nothing in the pod has to answer.
	run(t, "ip netns exec %s nft add table inet seen", namespace)
	defer run(t, "ip netns exec %s nft delete table inet seen", namespace)
	run(t, "ip netns exec %s nft add chain inet seen in { type filter hook prerouting priority -400 ; }", namespace)
	run(t, "ip netns exec %s nft add rule inet seen in %s counter", namespace, filter)
	send()
	time.Sleep(100 * time.Millisecond) // of the kernel's own delivery, which is immediate
	return !strings.Contains(run(t, "ip netns exec %s nft list table inet seen", namespace), "counter packets 0 ")
}

// TestSpoofed: a packet with the address of another pod does not arrive, and the journal names its sender; without the rules it
// arrives, whatever the policies say.
func TestSpoofed(t *testing.T) {
	if !inNode(t) {
		return
	}
	app := buildApp(t)
	l := newLab(t)
	l.start()
	// y/a may not send, and x/a takes only from x/b: y/a takes the address of x/b.
	l.enforce(`{metadata: {namespace: y, name: out}, spec: {podSelector: {}, policyTypes: [Egress]}}` + "\n---\n" +
		`{metadata: {namespace: x, name: in}, spec: {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}}`)
	friend, victim, stranger := l.pods["x/b"], l.pods["x/a"], l.pods["y/a"]
	forge := func(kind, from, to string) func() {
		return func() { t.Helper(); run(t, "ip netns exec ya %s forge -kind %s -from %s %s", app, kind, from, to) }
	}
	for _, kind := range []string{"udp", "tcp"} {
		if !hears(t, "xa", "ip saddr "+friend+" "+kind+" dport 80", forge(kind, friend, victim+":80")) {
			t.Errorf("without the rules, a forged %s packet does not arrive: the test proves nothing", kind)
		}
	}
	if err := GuardEdge(t.Context(), Config{}, true); err != nil {
		t.Fatal(err)
	}
	if !EdgeGuarded(t.Context()) {
		t.Error("the rules are not found")
	}
	for _, kind := range []string{"udp", "tcp"} {
		for _, from := range []string{friend, "10.244.1.1", "172.18.0.2", "10.245.0.1", "203.0.113.7", "10.244.2.10"} {
			if hears(t, "xa", "ip saddr "+from+" "+kind+" dport 80", forge(kind, from, victim+":80")) {
				t.Errorf("a forged %s packet from %s arrives", kind, from)
			}
		}
		if hears(t, "n2", "ip saddr "+friend+" "+kind+" dport 80", forge(kind, friend, l.pods["z/c"]+":80")) {
			t.Errorf("a forged %s packet arrives on another node", kind)
		}
	}
	forge("udp", "fd00::1", "[fd00::2]:53")()
	forge("arp", friend, "")()
	want := map[string]bool{
		"UDP " + friend: true, "TCP " + friend: true, "UDP fd00::1": true, "ARP " + friend: true,
	}
	deadline := time.After(10 * time.Second)
	for {
		denials, more := l.agent.journal.after(0)
		for _, d := range denials {
			addr, spoofed := strings.CutPrefix(d.Reason, "spoofed, sent with the address ")
			addr, _, _ = strings.Cut(addr, " of ")
			if spoofed && d.From == "y/a" && d.FromAddr.String() == stranger && d.Direction == policy.Egress {
				delete(want, string(d.Protocol)+" "+addr)
			}
		}
		if len(want) == 0 {
			break
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("not in the journal: %v\n%+v", want, denials)
		}
	}
	// The set keeps up with pods, and an agent that is gone leaves none that would cut off later ones.
	if rules := run(t, "nft list table arp %s", EdgeTable); !strings.Contains(rules, friend) {
		t.Errorf("a pod is missing:\n%s", rules)
	}
	l.stop()
	l.start()
	if rules := run(t, "nft list table arp %s", EdgeTable); !strings.Contains(rules, friend) {
		t.Errorf("after a restart, a pod is missing:\n%s", rules)
	}
	l.try("with the rules", "x/b", "tcp", victim+":80", true)
	l.try("with the rules", "x/b", "udp", l.pods["z/c"]+":80", true)
	l.try("with the rules", "x/a", "tcp", "10.245.0.1:6443", true)
	l.try("with the rules", "x/a", "tcp", "203.0.113.7:80", true)
	l.stop()
	if err := Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tables := run(t, "nft list tables"); strings.Contains(tables, "arp") {
		t.Errorf("without policies, there is still\n%s", tables)
	}
}

// TestLoopback: a pod reaches no loopback address of its node, even where the kernel would route there.
func TestLoopback(t *testing.T) {
	if !inNode(t) {
		return
	}
	app := buildApp(t)
	l := newLab(t)
	l.node.listen("tcp", "127.0.0.1:10249")
	run(t, "sysctl -qw net.ipv4.conf.all.route_localnet=1")
	answers := func(to string) bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return exec.CommandContext(ctx, "ip", "netns", "exec", "ya", app, "syn", to).Run() == nil
	}
	if !answers("127.0.0.1:10249") {
		t.Error("without the rules, the loopback address does not answer: the test proves nothing")
	}
	if err := GuardEdge(t.Context(), Config{}, false); err != nil {
		t.Fatal(err)
	}
	if answers("127.0.0.1:10249") {
		t.Error("the loopback address answers")
	}
	if !answers("10.245.0.1:6443") {
		t.Error("the gateway does not answer")
	}
	if !l.node.reaches("tcp", "", "127.0.0.1:10249", true) {
		t.Error("the node itself does not reach its loopback address")
	}
}
