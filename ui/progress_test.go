package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"github.com/muesli/termenv"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/ui/kit/goldentest"
)

// progressEvents has steps that are done, running and failed, a warning, and long and wide text.
func progressEvents() []cluster.Event {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	return []cluster.Event{
		{Time: at(0), Step: "preflight", State: cluster.StepWarning, Message: "fs.inotify.max_user_instances is 128, 3 nodes may need 192: sysctl -w fs.inotify.max_user_instances=192"},
		{Time: at(1), Step: "certificates", State: cluster.StepStarted},
		{Time: at(2), Step: "payload", State: cluster.StepStarted},
		{Time: at(90), Step: "certificates", State: cluster.StepDone, Seconds: 0.089},
		{Time: at(1500), Step: "payload", State: cluster.StepDone, Seconds: 1.498, Message: "unpacked"},
		{Time: at(1501), Step: "control plane", State: cluster.StepStarted},
		{Time: at(1600), Step: "n1", State: cluster.StepStarted},
		{Time: at(1700), Step: "control plane", State: cluster.StepRunning, Message: "etcd, kube-apiserver, kube-controller-manager, kube-scheduler, metrics-server"},
		{Time: at(1800), Step: "n1", State: cluster.StepRunning, Message: "registered"},
		{Time: at(1900), Step: "n2", State: cluster.StepFailed, Seconds: 0.2, Message: "make node: 容器 kl-n2 could not be made:\nno space left on device"},
		{Time: at(2000), Step: "a step with a name that is much too long", State: cluster.StepStarted},
	}
}

func progressModel(profile termenv.Profile, events []cluster.Event) checklist {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(profile)
	var m tea.Model = newChecklist(r, func() time.Time { return time.Date(2026, 1, 2, 3, 4, 15, 0, time.UTC) })
	for _, e := range events {
		m, _ = m.Update(progressMsg(e))
	}
	return m.(checklist)
}

func TestProgressChecklist(t *testing.T) {
	files := goldentest.New(t)
	for _, width := range []int{40, 80, 120} {
		for name, profile := range map[string]termenv.Profile{"plain": termenv.Ascii, "color": termenv.ANSI} {
			t.Run(fmt.Sprintf("%s-%d", name, width), func(t *testing.T) {
				m, _ := progressModel(profile, progressEvents()).Update(tea.WindowSizeMsg{Width: width, Height: 24})
				got := m.View()
				for _, line := range strings.Split(got, "\n") {
					if w := ansi.StringWidth(line); w > width {
						t.Errorf("%d cells wide: %q", w, line)
					}
				}
				if plain := name == "plain"; plain == strings.Contains(got, "\x1b[") {
					t.Errorf("plain is %v, but so are escape sequences", plain)
				}
				files.Equal(t, got)
			})
		}
	}
}

func TestProgressLines(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b, ProgressLines)
	for _, e := range progressEvents() {
		p.Event(e)
	}
	p.Close()
	goldentest.New(t).Equal(t, b.String())
}

func TestProgressJSON(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b, ProgressJSON)
	for _, e := range progressEvents() {
		p.Event(e)
	}
	p.Close()
	var got []cluster.Event
	for dec := json.NewDecoder(&b); dec.More(); {
		var e cluster.Event
		if err := dec.Decode(&e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if diff := cmp.Diff(progressEvents(), got); diff != "" {
		t.Error(diff)
	}
}

// The last state stays on the terminal, and nothing is drawn after Close.
func TestProgressEndsWithTheLastState(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b, ProgressChecklist)
	p.Event(cluster.Event{Time: time.Now(), Step: "payload", State: cluster.StepStarted})
	p.Event(cluster.Event{Time: time.Now(), Step: "payload", State: cluster.StepDone, Seconds: 1.25})
	p.Close()
	size := b.Len()
	p.Event(cluster.Event{Time: time.Now(), Step: "payload", State: cluster.StepFailed})
	if text := ansi.Strip(b.String()); !strings.Contains(text, "✓ payload") || b.Len() != size {
		t.Errorf("drew %q", text)
	}
	if !strings.HasSuffix(b.String(), ansi.ShowCursor) && !strings.Contains(b.String(), ansi.ShowCursor) {
		t.Error("the cursor is still hidden")
	}
}
