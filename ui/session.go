package ui

import (
	"cmp"
	"context"
	"os/exec"
	"sync"

	tea "github.com/charmbracelet/bubbletea"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/klkube/kl/cluster/observe"
)

// session is a connection to one cluster: the source of its snapshots, the actions on it, and its port-forwards.
type session struct {
	target observe.Target
	source *observe.Source
	act    *observe.Actions
	run    func(func(context.Context) tea.Msg) tea.Cmd // returns a command whose context ends with the session
	cancel context.CancelFunc
	done   chan struct{}

	// kubectl is Options.Kubectl.
	kubectl func(ctx context.Context, t observe.Target, args []string) (*exec.Cmd, error)

	discovered bool               // the server has been asked what it serves
	resources  []observe.Resource // what it serves, as far as known

	mu       sync.Mutex
	forwards []*forward
}

// connect opens a session that ends with ctx. It does not wait for the server to answer.
func connect(ctx context.Context, t observe.Target, o Options) (*session, error) {
	rc, err := t.REST()
	if err != nil {
		return nil, err
	}
	src, err := observe.New(observe.Config{
		REST: rc, Name: t.Name, Namespace: o.only(), Fallback: cmp.Or(o.Namespace, t.Namespace()), Layout: t.Layout, Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	act, err := observe.NewActions(rc)
	if err != nil {
		return nil, err
	}
	s := newSession(ctx, t, src, act)
	s.kubectl = o.Kubectl
	return s, nil
}

func newSession(ctx context.Context, t observe.Target, src *observe.Source, act *observe.Actions) *session {
	ctx, cancel := context.WithCancel(ctx)
	s := &session{target: t, source: src, act: act, cancel: cancel, done: make(chan struct{})}
	s.run = func(f func(context.Context) tea.Msg) tea.Cmd {
		return func() tea.Msg { return f(ctx) }
	}
	go func() {
		defer close(s.done)
		_ = src.Run(ctx) // ends only with ctx
	}()
	return s
}

// close ends the session and waits for its goroutines.
func (s *session) close() {
	s.cancel()
	<-s.done
}

// cancelable returns a command whose context ends with the session or when cancel is called. Unlike the command, its context
// may be used for longer than the command runs.
func (s *session) cancelable(f func(context.Context) tea.Msg) (cmd tea.Cmd, cancel func()) {
	stop := make(chan struct{})
	cmd = s.run(func(ctx context.Context) tea.Msg {
		ctx, end := context.WithCancel(ctx)
		go func() {
			defer end()
			select {
			case <-stop:
			case <-ctx.Done():
			}
		}()
		return f(ctx)
	})
	return cmd, sync.OnceFunc(func() { close(stop) })
}

// servedResources are the resources that the server serves, as far as known. There are none without a session.
func (s *session) servedResources() []observe.Resource {
	if s == nil {
		return nil
	}
	return s.resources
}

// first returns a command that brings the current snapshot at once.
func (s *session) first() tea.Cmd {
	return s.run(func(context.Context) tea.Msg {
		snap, changed := s.source.Snapshot()
		return snapshotMsg{s, snap, changed}
	})
}

// next returns a command that waits for a snapshot newer than the one that came with changed.
func (s *session) next(changed <-chan struct{}) tea.Cmd {
	return s.run(func(ctx context.Context) tea.Msg {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		snap, again := s.source.Snapshot()
		return snapshotMsg{s, snap, again}
	})
}

// do returns a command that changes the cluster and reports the result as a toast: done, or the error.
func (s *session) do(done string, f func(context.Context) error) tea.Cmd {
	return s.run(func(ctx context.Context) tea.Msg {
		if err := f(ctx); err != nil {
			return toastMsg{refusal(err), observe.Bad}
		}
		return toastMsg{done, observe.Good}
	})
}

// refusal describes an error of the API server for the user.
func refusal(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "refused: " + err.Error()
	case apierrors.IsConflict(err):
		return "it was changed in the meantime: " + err.Error()
	}
	return err.Error()
}
