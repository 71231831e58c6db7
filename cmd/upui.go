package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui"
)

// upUI is `kl up --ui`: progress until the API answers, then the dashboard, in which the nodes appear as they come up. If up
// fails, the dashboard closes, so that the error is the last thing on the terminal. If the user leaves the dashboard before
// up is done, the progress comes back.
func upUI(ctx context.Context, e *env, f upFlags) error {
	if f.output.isJSON() {
		return usageError{errors.New("--ui and -o json cannot be used together")}
	}
	if !isTerminal(e.In) || !isTerminal(e.Out) {
		return &cluster.Error{Op: "open the dashboard", Err: errors.New("standard input and output are not a terminal"), Hint: "run kl up without --ui"}
	}
	v := &upView{open: func() *ui.Progress { return e.progress(f.output) }, news: make(chan ui.News, 1), answers: make(chan struct{})}
	v.progress = v.open()
	shown, closeUI := context.WithCancel(ctx)
	defer closeUI()
	var result *host.Result
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if result, err = f.bringUp(ctx, e.host(v.event)); err != nil {
			closeUI()
			return
		}
		v.tell(ui.News{Text: fmt.Sprintf("%s is up in %.1f s", result.Cluster, result.Seconds), Done: true})
	}()
	select {
	case <-v.answers:
	case <-ended:
	}
	var uiErr error
	if shown.Err() == nil {
		v.leave()
		if uiErr = ui.Run(shown, e.dashboard(f, v.news)); shown.Err() != nil {
			uiErr = nil // up failed or was interrupted, and err says so
		}
		v.back()
	}
	<-ended
	v.progress.Close()
	if err != nil {
		return err
	}
	return errors.Join(f.finish(ctx, e, result, printResult), uiErr)
}

// dashboard returns the options of a dashboard for the cluster that comes up.
func (e *env) dashboard(f upFlags, news <-chan ui.News) ui.Options {
	l := e.Home.Cluster(f.spec.Name)
	t := observe.Target{Name: l.Name, Kubeconfig: l.Kubeconfig(), Layout: &l, Current: true}
	return (&targetFlags{}).optionsFor(e, t, news)
}

// upView shows the events of up in the progress or, while the dashboard has the terminal, as its news.
type upView struct {
	open    func() *ui.Progress
	news    chan ui.News
	answers chan struct{} // closed once the API answers

	mu       sync.Mutex
	progress *ui.Progress    // nil while the dashboard has the terminal
	missed   []cluster.Event // to be shown once the progress is back
}

func (v *upView) event(ev cluster.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.missed = append(v.missed, ev)
	if v.progress != nil {
		v.progress.Event(ev)
	} else if ev.State == cluster.StepNote {
		v.tell(ui.News{Text: ev.Message})
	} else if ev.State != cluster.StepDone {
		v.tell(ui.News{Text: strings.TrimSuffix(ev.Step+": "+ev.Message, ": ")})
	}
	if ev.Step == cluster.StepControlPlane && ev.State == cluster.StepDone {
		close(v.answers) // a step ends once
	}
}

// tell replaces news that the dashboard has not read yet.
func (v *upView) tell(n ui.News) {
	select {
	case <-v.news:
	default:
	}
	v.news <- n
}

// leave takes the progress off the terminal.
func (v *upView) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.progress.Remove() {
		v.missed = nil // lines have stayed on the terminal
	}
	v.progress = nil
}

// back shows the progress again, without the lines that are on the terminal already.
func (v *upView) back() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.progress = v.open()
	for _, ev := range v.missed {
		v.progress.Event(ev)
	}
}
