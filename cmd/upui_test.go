package cmd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/ui"
)

// TestUpView: while the dashboard has the terminal, events are its news; nothing is lost when the progress comes back.
func TestUpView(t *testing.T) {
	var out bytes.Buffer
	v := &upView{open: func() *ui.Progress { return ui.NewProgress(&out, ui.ProgressLines) }, news: make(chan ui.News, 1), answers: make(chan struct{})}
	v.progress = v.open()
	v.event(cluster.Event{Step: cluster.StepControlPlane, State: cluster.StepStarted})
	v.event(cluster.Event{Step: cluster.StepControlPlane, State: cluster.StepDone})
	select {
	case <-v.answers:
	default:
		t.Fatal("the API answers, and nobody is told")
	}
	v.leave()
	v.event(cluster.Event{Step: "n1", State: cluster.StepStarted})
	v.event(cluster.Event{Step: "n1", State: cluster.StepRunning, Message: "registered"})
	if n := <-v.news; n.Text != "n1: registered" || n.Done {
		t.Errorf("news: %+v", n)
	}
	if strings.Contains(out.String(), "n1") {
		t.Errorf("written below the dashboard:\n%s", out.String())
	}
	v.back()
	v.progress.Close()
	if n := strings.Count(out.String(), "\n"); n != 4 || !strings.Contains(out.String(), "n1: registered") {
		t.Errorf("%d lines, want each event once:\n%s", n, out.String())
	}
}
