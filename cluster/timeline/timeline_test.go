package timeline

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

var update = flag.Bool("update", false, "write the golden files")

// newStart is the start of a new cluster with one node.
func newStart() Start {
	began := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	component := func(name cluster.ComponentName, began, ready float64, needs ...cluster.ComponentName) cluster.ComponentStatus {
		return cluster.ComponentStatus{Name: name, Began: began, Ready: ready, Needs: needs}
	}
	return Start{
		Title: "Start of cluster <&>: 10.6 s", Began: began,
		Steps: []cluster.Step{
			{Name: cluster.StepPayload, Began: 0.03, Seconds: 1.39}, {Name: cluster.StepCertificates, Began: 0.03, Seconds: 0.18},
			{Name: cluster.StepImage, Began: 1.44, Seconds: 3.02}, {Name: cluster.StepControlPlane, Began: 1.42, Seconds: 6.21},
			{Name: cluster.StepAccount, Began: 7.63, Seconds: 1.25}, {Name: "n1", Began: 4.46, Seconds: 5.09},
			{Name: cluster.StepDNS, Began: 7.63, Seconds: 2.91}, {Name: cluster.StepKubeconfig, Began: 10.54, Seconds: 0.01},
		},
		Events: []cluster.Event{
			{Time: at(6.04), Step: "n1", State: cluster.StepRunning, Message: "started"}, {Time: at(7.58), Step: "n1", State: cluster.StepRunning, Message: "connected"},
			{Time: at(9.2), Step: "n1", State: cluster.StepRunning, Message: "registered"},
		},
		Status: cluster.Status{
			Started: at(1.59),
			Components: []cluster.ComponentStatus{
				component("tunnel", 0.01, 0.02), component(cluster.Etcd, 0.01, 0.12), component(cluster.KubeAPIServer, 0.12, 4.19, cluster.Etcd),
				component("roles", 4.19, 5.66, cluster.KubeAPIServer), component("observer", 5.66, 5.99, "roles"), component("bootstrap", 5.66, 6.54, "roles"),
				component(cluster.KubeControllerManager, 5.67, 7.29, "roles"), component("approver", 5.67, 5.99, "roles"),
				{Name: "broken", Began: 5, State: cluster.ComponentRestarting},
			},
			Nodes: []cluster.NodeStatus{{Name: "n1"}, {Name: "n0"}}, // n0 had run before
			Moments: []cluster.Moment{
				{Name: cluster.DNSDeployment, At: 6.54}, {Name: cluster.DNSPod, At: 7.35}, {Name: cluster.DNSScheduled, At: 8},
				{Name: cluster.DNSRunning, At: 8.7}, {Name: cluster.DNSReady, At: 8.82}, {Name: cluster.DNSAnswers, At: 8.95},
			},
		},
		Programs: map[string]cluster.NodeProgram{"n1": {Started: at(6.19), Components: []cluster.ComponentStatus{
			component("gateway", 0.04, 0.041), component("ready-at-once", 0.04, 0.041), component("policy-gate", 0.04, 0.18),
			component("credentials", 0.04, 2.6, "gateway"), component("containerd", 0.04, 0.24),
			component(cluster.Kubelet, 2.6, 3.36, "credentials", "containerd", "policy-gate"), component("network", 2.6, 2.72, "credentials"),
			component(cluster.KubeProxy, 2.73, 3, "network"),
		}}},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func text(t *testing.T, c Chart) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns, more than 80: %s", n, line)
		}
	}
	return b.String()
}

// svg returns the picture and the texts in it, once it is known to be XML.
func svg(t *testing.T, c Chart) (string, []string) {
	t.Helper()
	var b bytes.Buffer
	if err := c.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	picture := b.String()
	var texts []string
	for d := xml.NewDecoder(&b); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return picture, texts
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, picture)
		}
		if data, ok := token.(xml.CharData); ok {
			texts = append(texts, string(data))
		}
	}
}

func TestStart(t *testing.T) {
	c := Of(newStart())
	golden(t, "start.txt", text(t, c))
	picture, texts := svg(t, c)
	golden(t, "start.svg", picture)
	for _, g := range c.Groups {
		for _, s := range g.Steps {
			if !slices.Contains(texts, s.Name) {
				t.Errorf("the picture lacks %s of %s", s.Name, g.Name)
			}
		}
	}
}

// A start of a cluster whose control plane ran, or that has no nodes, shows what there was.
func TestPartsOfAStart(t *testing.T) {
	names := func(c Chart) (list []string) {
		for _, g := range c.Groups {
			list = append(list, g.Name)
		}
		return list
	}
	all := newStart()
	if got := names(Of(all)); !slices.Equal(got, []string{"host", "control plane", "n1", "DNS"}) {
		t.Errorf("groups of a new cluster: %q", got)
	}
	added := newStart()
	added.Status.Started = added.Began.Add(-time.Hour)
	if got := names(Of(added)); !slices.Equal(got, []string{"host", "n1"}) {
		t.Errorf("groups of a node that was added: %q", got)
	}
	plane := newStart()
	plane.Status.Nodes, plane.Status.Moments = nil, nil
	if got := names(Of(plane)); !slices.Equal(got, []string{"host", "control plane"}) {
		t.Errorf("groups without nodes: %q", got)
	}
	mute := newStart()
	mute.Programs = nil
	if got := text(t, Of(mute)); !strings.Contains(got, "registered") || strings.Contains(got, "kubelet") {
		t.Errorf("a node that does not answer:\n%s", got)
	}
	again := newStart() // of a cluster that was stopped, whose DNS answered before the kubelet said that it is ready
	moments := again.Status.Moments
	again.Status.Moments = []cluster.Moment{moments[3], {Name: cluster.DNSAnswers, At: 8.75}, moments[4]}
	if got := text(t, Of(again)); !regexp.MustCompile(`DNS answers .* ← pod running`).MatchString(got) {
		t.Errorf("DNS that answers before it is ready:\n%s", got)
	}
	if got := Of(Start{}); len(got.Groups) != 0 {
		t.Errorf("groups of nothing: %+v", got)
	}
}

// Every column of time that a step has is drawn, whatever the scale, and nothing is drawn beside the axis.
func TestExtremes(t *testing.T) {
	long := strings.Repeat("ñ", 100)
	for i, c := range []Chart{
		{},
		{Title: long, Groups: []Group{{Name: long, Steps: []Step{{ID: "a", Name: long, Began: 1, Ended: 1}}}}},
		{Groups: []Group{{Name: "g", Steps: []Step{{ID: "a", Name: "a", Began: 0, Ended: 12345}, {ID: "b", Name: "b", Began: 12345, Ended: 12345, After: []string{"a", "b", "none"}}}}}},
		{Groups: []Group{{Name: "g", Steps: []Step{{ID: "a", Name: "a", Began: -20, Ended: -10}, {ID: "b", Name: "b", Began: 3, Ended: 2}}}}},
		{Groups: []Group{{Name: "g", Steps: []Step{{ID: "a", Name: "a", Began: 1, Ended: 2, After: []string{"b"}}, {ID: "b", Name: "b", Began: 1, Ended: 2, After: []string{"a"}}}}}},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			drawn := text(t, c)
			for _, g := range c.Groups {
				if n := strings.Count(drawn, "\n") - 4; n != len(g.Steps) {
					t.Errorf("%d rows, want %d:\n%s", n, len(g.Steps), drawn)
				}
			}
			svg(t, c)
		})
	}
}

// The longest path leads from the last end back through what each step waited for last.
func TestLongestPath(t *testing.T) {
	c := Chart{Groups: []Group{{Name: "g", Steps: []Step{
		{ID: "a", Name: "a", Ended: 1}, {ID: "b", Name: "b", Ended: 2}, {ID: "late", Name: "late", Ended: 9},
		{ID: "c", Name: "c", Began: 2, Ended: 3, After: []string{"a", "b", "late"}}, {ID: "d", Name: "d", Began: 9, Ended: 10, After: []string{"c"}},
	}}}}
	var path []string
	for _, r := range c.rows() {
		if r.longer {
			path = append(path, r.Name)
		}
	}
	if !slices.Equal(path, []string{"b", "c", "d"}) {
		t.Errorf("longest path is %q", path)
	}
}
