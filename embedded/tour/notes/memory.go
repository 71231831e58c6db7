package notes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"github.com/klkube/kl/cluster/latest"
)

// maxChanges is how many changes are kept for watches. A watch that begins before them has to list anew.
const maxChanges = 1000

// memory keeps Notes as etcd would, for as long as the process lives. Readers hold a state while writers make the next one.
type memory struct {
	storage.APIObjectVersioner
	state latest.Value[state]
}

var _ storage.Interface = (*memory)(nil)

// state is all Notes at one resource version. It is not modified, and neither are its Notes.
type state struct {
	version uint64
	notes   map[string]*Note // by key: /notes/NAMESPACE/NAME
	changes []change         // the last ones, oldest first
	dropped uint64           // version of the last change that is not among them
}

// change is a Note before and after. before is nil if it was created, after if it was deleted.
type change struct {
	version       uint64
	key           string
	before, after *Note
}

// newMemory returns an empty memory. Its versions begin at the present time, in microseconds, so that those of an earlier process are
// older: a client that goes on with one of them is told to list anew.
func newMemory(now time.Time) *memory {
	m := &memory{}
	began := uint64(now.UnixMicro()) //nolint:gosec // after 1970
	m.state.Set(state{version: began, dropped: began, notes: map[string]*Note{}})
	return m
}

// with returns the next state, in which key has a Note, or none. The Note gets the state's version.
func (s state) with(key string, note *Note) state {
	c := change{version: s.version + 1, key: key, before: s.notes[key], after: note}
	next := state{version: c.version, notes: maps.Clone(s.notes), dropped: s.dropped}
	if note != nil {
		note.ResourceVersion = formatVersion(c.version)
		next.notes[key] = note
	} else {
		delete(next.notes, key)
	}
	next.changes = append(slices.Clone(s.changes), c)
	if n := len(next.changes) - maxChanges; n > 0 {
		next.dropped = next.changes[n-1].version
		next.changes = next.changes[n:]
	}
	return next
}

func formatVersion(v uint64) string { return strconv.FormatUint(v, 10) }

// replace puts a Note, or none, in the place of old. It reports false if old is not there any more.
func (m *memory) replace(key string, old, note *Note) (version uint64, ok bool) {
	m.state.Update(func(s state) (state, bool) {
		if s.notes[key] != old {
			return s, false
		}
		ok, version = true, s.version+1
		return s.with(key, note), true
	})
	return version, ok
}

// Versioner implements storage.Interface.
func (m *memory) Versioner() storage.Versioner { return m.APIObjectVersioner }

// Create implements storage.Interface. Notes have no time to live.
func (m *memory) Create(_ context.Context, key string, obj, out runtime.Object, _ uint64) error {
	note := obj.(*Note).DeepCopy()
	if err := m.PrepareObjectForStorage(note); err != nil {
		return err
	}
	if _, ok := m.replace(key, nil, note); !ok {
		return storage.NewKeyExistsError(key, 0)
	}
	set(out, note)
	return nil
}

// set copies a Note into what a caller wants filled, which may be nil.
func set(out runtime.Object, note *Note) {
	if n, ok := out.(*Note); ok && n != nil {
		*n = *note.DeepCopy()
	}
}

// Delete implements storage.Interface.
func (m *memory) Delete(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions, validate storage.ValidateObjectFunc,
	_ runtime.Object, _ storage.DeleteOptions,
) error {
	for {
		note := m.state.Load().notes[key]
		if note == nil {
			return storage.NewKeyNotFoundError(key, 0)
		}
		last := note.DeepCopy()
		if err := pre.Check(key, last); err != nil {
			return err
		}
		if err := validate(ctx, last); err != nil {
			return err
		}
		if version, ok := m.replace(key, note, nil); ok {
			last.ResourceVersion = formatVersion(version)
			set(out, last)
			return nil
		}
	}
}

// Get implements storage.Interface.
func (m *memory) Get(_ context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	s := m.state.Load()
	if err := m.notNewer(s, opts.ResourceVersion); err != nil {
		return err
	}
	note := s.notes[key]
	switch {
	case note == nil && !opts.IgnoreNotFound:
		return storage.NewKeyNotFoundError(key, 0)
	case note == nil:
		note = &Note{}
	}
	set(out, note)
	return nil
}

// notNewer wants that a version has been reached.
func (m *memory) notNewer(s state, version string) error {
	v, err := m.ParseResourceVersion(version)
	if err == nil && v > s.version {
		err = storage.NewTooLargeResourceVersionError(v, s.version, 1)
	}
	return err
}

// GetList implements storage.Interface. Lists are always complete, whatever their limit.
func (m *memory) GetList(_ context.Context, key string, opts storage.ListOptions, out runtime.Object) error {
	s := m.state.Load()
	if err := m.notNewer(s, opts.ResourceVersion); err != nil {
		return err
	}
	if opts.ResourceVersionMatch == metav1.ResourceVersionMatchExact && opts.ResourceVersion != formatVersion(s.version) {
		return apierrors.NewResourceExpired(fmt.Sprintf("resource version %s is not kept", opts.ResourceVersion))
	}
	list := out.(*NoteList)
	list.Items = []Note{}
	for _, k := range slices.Sorted(maps.Keys(s.notes)) {
		ok, err := selects(key, opts, k, s.notes[k])
		if err != nil {
			return err
		}
		if ok {
			list.Items = append(list.Items, *s.notes[k].DeepCopy())
		}
	}
	return m.UpdateList(list, s.version, "", nil)
}

// selects reports whether a list or watch of key includes a Note, which may be nil.
func selects(key string, opts storage.ListOptions, of string, note *Note) (bool, error) {
	within := of == key
	if opts.Recursive {
		within = strings.HasPrefix(of, strings.TrimSuffix(key, "/")+"/")
	}
	if !within || note == nil {
		return false, nil
	}
	return opts.Predicate.Matches(note)
}

// GuaranteedUpdate implements storage.Interface.
func (m *memory) GuaranteedUpdate(_ context.Context, key string, out runtime.Object, ignoreNotFound bool, pre *storage.Preconditions,
	update storage.UpdateFunc, _ runtime.Object,
) error {
	for {
		old := m.state.Load().notes[key]
		current, meta := &Note{}, storage.ResponseMeta{}
		switch {
		case old != nil:
			version, err := m.ObjectResourceVersion(old)
			if err != nil {
				return err
			}
			current, meta.ResourceVersion = old.DeepCopy(), version
		case !ignoreNotFound:
			return storage.NewKeyNotFoundError(key, 0)
		}
		if err := pre.Check(key, current); err != nil {
			return err
		}
		changed, _, err := update(current, meta)
		if err != nil {
			return err
		}
		note := changed.(*Note).DeepCopy()
		if err := m.PrepareObjectForStorage(note); err != nil {
			return err
		}
		if old != nil {
			if note.ResourceVersion = old.ResourceVersion; apiequality.Semantic.DeepEqual(note, old) {
				set(out, old)
				return nil
			}
		}
		if _, ok := m.replace(key, old, note); ok {
			set(out, note)
			return nil
		}
	}
}

// Watch implements storage.Interface.
func (m *memory) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	since, err := m.ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	s := m.state.Load()
	if err := m.notNewer(s, opts.ResourceVersion); err != nil {
		return nil, err
	}
	w := &watcher{memory: m, key: key, opts: opts, since: since, events: make(chan watch.Event, 10)}
	w.initial = since == 0 || opts.SendInitialEvents != nil && *opts.SendInitialEvents
	if opts.SendInitialEvents != nil && !*opts.SendInitialEvents {
		w.initial = false
		if since == 0 {
			w.since = s.version
		}
	}
	ctx, w.stop = context.WithCancel(ctx)
	go w.run(ctx)
	return w, nil
}

// Stats implements storage.Interface.
func (m *memory) Stats(context.Context) (storage.Stats, error) {
	return storage.Stats{ObjectCount: int64(len(m.state.Load().notes))}, nil
}

// ReadinessCheck implements storage.Interface.
func (m *memory) ReadinessCheck() error { return nil }

// RequestWatchProgress implements storage.Interface: watches are never behind.
func (m *memory) RequestWatchProgress(context.Context) error { return nil }

// GetCurrentResourceVersion implements storage.Interface.
func (m *memory) GetCurrentResourceVersion(context.Context) (uint64, error) {
	return m.state.Load().version, nil
}

// EnableResourceSizeEstimation implements storage.Interface: sizes are not estimated.
func (m *memory) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }

// CompactRevision implements storage.Interface.
func (m *memory) CompactRevision() int64 { return 0 }
