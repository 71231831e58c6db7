package observe

import (
	"math"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster"
)

const scrapeText = `# HELP apiserver_request_total Counter
apiserver_request_total{code="200",component="apiserver",verb="GET"} %GET%
apiserver_request_total{code="500",component="apiserver",verb="GET"} 10
apiserver_request_total{code="200",component="apiserver",verb="WATCH"} 5
apiserver_request_duration_seconds_bucket{verb="GET",le="0.01"} %FAST%
apiserver_request_duration_seconds_bucket{verb="GET",le="0.1"} %GET%
apiserver_request_duration_seconds_bucket{verb="GET",le="+Inf"} %GET%
etcd_mvcc_db_total_size_in_bytes 1.048576e+06
scheduler_pending_pods{queue="active"} 2
scheduler_pending_pods{queue="backoff"} 1
scheduler_schedule_attempts_total{profile="default",result="scheduled"} %GET%
`

func TestPlane(t *testing.T) {
	scraped := func(get, fast string, at time.Time) *scrape {
		c := newScrape(at)
		if err := c.read(strings.NewReader(strings.NewReplacer("%GET%", get, "%FAST%", fast).Replace(scrapeText))); err != nil {
			t.Fatal(err)
		}
		return c
	}
	before, after := scraped("100", "100", testNow), scraped("300", "200", testNow.Add(10*time.Second))
	p := after.plane(before)
	v := p.Verbs[0]
	if v.Verb != "GET" || v.Rate != 20 || v.Errors != 0 {
		t.Errorf("verb: %+v", v)
	}
	if v.P50 != 0.01 || math.Abs(v.P99-0.0982) > 0.0001 { // half below 10 ms, the rest spread to 100 ms
		t.Errorf("p50 %v, p99 %v", v.P50, v.P99)
	}
	if p.EtcdBytes != 1<<20 || p.SchedulerPending != 3 || p.ScheduledPerSec != 20 {
		t.Errorf("plane: %+v", p)
	}
	if !math.IsNaN(p.FsyncP99) || !math.IsNaN(p.Verbs[1].P50) {
		t.Errorf("what is not measured must be NaN: %+v", p)
	}
}

func TestHistoryNeverChangesWhatWasHandedOut(t *testing.T) {
	h := &history{nodes: map[string]Series{}, pods: map[string]Series{}, period: time.Second}
	var early *Usage
	for i := range historyLen + 10 {
		h.begin()
		h.add(h.pods, "a/b", Sample{MilliCPU: int32(i)})
		h.end(testNow)
		if i == 3 {
			early = h.usage(nil)
		}
	}
	if s := early.Pod("a", "b"); len(s) != 4 || s[3].MilliCPU != 3 {
		t.Errorf("early: %v", s)
	}
	if s := h.usage(nil).Pod("a", "b"); len(s) != historyLen || s[0].MilliCPU != 10 {
		t.Errorf("late: %d samples from %v", len(s), s[0])
	}
	h.begin()
	h.end(testNow)
	if s := h.usage(nil).Pod("a", "b"); s != nil {
		t.Errorf("a pod that is gone has %d samples", len(s))
	}
}

func TestParseAudit(t *testing.T) {
	line := `{"kind":"Event","level":"Metadata","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/default/deployments/web/scale?x=1","verb":"patch","user":{"username":"ann"},"sourceIPs":["10.0.0.9"],"userAgent":"kubectl/v1.36.3 (linux)","objectRef":{"resource":"deployments","namespace":"default","name":"web","subresource":"scale"},"responseStatus":{"code":403},"requestReceivedTimestamp":"2026-05-01T12:00:00.000000Z","stageTimestamp":"2026-05-01T12:00:00.015000Z","annotations":{"authorization.k8s.io/decision":"forbid"}}`
	e, ok := ParseAudit(line)
	if !ok || e.User != "ann" || e.Resource != "deployments/scale" || e.Object != "default/web" || e.Agent != "kubectl" ||
		e.Latency != 15*time.Millisecond || !e.Denied() || !e.Change() {
		t.Errorf("entry: %+v, %v", e, ok)
	}
	if e, ok := ParseAudit(strings.Replace(line, "ResponseComplete", "RequestReceived", 1)); !ok || e.Finished() {
		t.Errorf("the first stage of a request: %v, finished is %v", ok, e.Finished())
	}
	if _, ok := ParseAudit("{"); ok {
		t.Error("half a line is not an entry")
	}
}

func TestNodesNaturalOrderAndStates(t *testing.T) {
	node := func(name string, ready corev1.ConditionStatus) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, Message: "kubelet stopped", LastTransitionTime: ago(time.Minute), LastHeartbeatTime: ago(2 * time.Minute)}}
		return n
	}
	cordoned := node("n2", corev1.ConditionTrue)
	cordoned.Spec.Unschedulable = true
	got := Nodes(NewSnapshot(Snapshot{Nodes: []*corev1.Node{node("n1", corev1.ConditionTrue), node("n10", corev1.ConditionUnknown), cordoned}}), testNow)
	want := []struct {
		name, text string
		level      Level
	}{{"n1", "Ready", Good}, {"n2", "Ready,SchedulingDisabled", Warn}, {"n10", "NotReady", Bad}}
	for i, w := range want {
		if got[i].Name != w.name || got[i].Text != w.text || got[i].Level != w.level {
			t.Errorf("%d: got %s %s %s, want %+v", i, got[i].Name, got[i].Text, got[i].Level, w)
		}
	}
	if got[2].Why != "its kubelet was last heard of 2m ago" {
		t.Errorf("why: %q", got[2].Why)
	}
	kl := &cluster.Status{Phase: cluster.PhaseReady, Nodes: []cluster.NodeStatus{{Name: "n1"}, {Name: "n2", Connected: true}}}
	got = Nodes(NewSnapshot(Snapshot{KL: kl, Nodes: []*corev1.Node{node("n1", corev1.ConditionTrue), node("n2", corev1.ConditionTrue)}}), testNow)
	if got[0].Text != "Disconnected" || got[0].Level != Bad || got[1].Text != "Ready" {
		t.Errorf("a node without a tunnel is %s, one with it %s", got[0].Text, got[1].Text)
	}
}
