package notes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// watcher sends the changes of Notes after a version. One that is slow misses none, but fails once they are dropped.
type watcher struct {
	memory  *memory
	key     string
	opts    storage.ListOptions
	since   uint64
	initial bool // begin with all Notes that there are

	events chan watch.Event
	stop   context.CancelFunc
}

var _ watch.Interface = (*watcher)(nil)

// Stop implements watch.Interface.
func (w *watcher) Stop() { w.stop() }

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.events }

// run sends events until ctx is done or one cannot be made.
func (w *watcher) run(ctx context.Context) {
	defer close(w.events)
	defer w.stop()
	err := w.sendAll(ctx)
	for err == nil {
		s, changed := w.memory.state.Get()
		if err = w.sendChanges(ctx, s); err != nil {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	status := apierrors.NewInternalError(err).Status()
	if s := apierrors.APIStatus(nil); errors.As(err, &s) {
		status = s.Status()
	}
	_ = w.send(ctx, watch.Event{Type: watch.Error, Object: &status})
}

func (w *watcher) send(ctx context.Context, e watch.Event) error {
	select {
	case w.events <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sendAll sends what there is, and, to a client that asked for it, a bookmark that says that this was all.
func (w *watcher) sendAll(ctx context.Context) error {
	if !w.initial {
		return nil
	}
	s := w.memory.state.Load()
	for _, key := range slices.Sorted(maps.Keys(s.notes)) {
		ok, err := selects(w.key, w.opts, key, s.notes[key])
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := w.send(ctx, watch.Event{Type: watch.Added, Object: s.notes[key].DeepCopy()}); err != nil {
			return err
		}
	}
	w.since = s.version
	if w.opts.SendInitialEvents == nil || !w.opts.Predicate.AllowWatchBookmarks {
		return nil
	}
	return w.send(ctx, watch.Event{Type: watch.Bookmark, Object: &Note{ObjectMeta: metav1.ObjectMeta{
		ResourceVersion: formatVersion(s.version),
		Annotations:     map[string]string{metav1.InitialEventsAnnotationKey: "true"},
	}}})
}

// sendChanges sends the changes up to a state.
func (w *watcher) sendChanges(ctx context.Context, s state) error {
	if w.since < s.dropped {
		return apierrors.NewResourceExpired(fmt.Sprintf("changes since resource version %d are not kept", w.since))
	}
	for _, c := range s.changes {
		if c.version <= w.since {
			continue
		}
		e, err := w.eventOf(c)
		if err != nil {
			return err
		}
		if e.Type != "" {
			if err := w.send(ctx, e); err != nil {
				return err
			}
		}
		w.since = c.version
	}
	return nil
}

// eventOf is what a change is for this watch: a Note that a selector does not choose any more is deleted for it. The event has no type
// if the watch does not include the Note.
func (w *watcher) eventOf(c change) (watch.Event, error) {
	before, err := selects(w.key, w.opts, c.key, c.before)
	if err != nil {
		return watch.Event{}, err
	}
	after, err := selects(w.key, w.opts, c.key, c.after)
	if err != nil {
		return watch.Event{}, err
	}
	switch {
	case before && after:
		return watch.Event{Type: watch.Modified, Object: c.after.DeepCopy()}, nil
	case after:
		return watch.Event{Type: watch.Added, Object: c.after.DeepCopy()}, nil
	case before:
		last := c.before.DeepCopy()
		last.ResourceVersion = formatVersion(c.version)
		return watch.Event{Type: watch.Deleted, Object: last}, nil
	}
	return watch.Event{}, nil
}
