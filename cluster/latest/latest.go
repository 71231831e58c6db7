// Package latest holds a value that one side changes and many watch. Readers skip values they were too slow for, none
// blocks, and the last value is never lost.
//
//	status := latest.New(Starting)
//	go status.Set(Ready)
//	for {
//		s, changed := status.Get()
//		show(s)
//		<-changed // closed once s is no longer the latest
//	}
package latest

import (
	"context"
	"sync"
)

// Value is the latest value of something and a signal of its next change. The zero Value holds the zero value of T. It is
// safe for concurrent use.
type Value[T any] struct {
	mu      sync.Mutex
	value   T
	changed chan struct{} // closed at the next change; nil until Get is called
}

// New returns a Value that holds v.
func New[T any](v T) *Value[T] { return &Value[T]{value: v} }

// Get returns the value and a channel that is closed once the value is no longer the latest.
func (l *Value[T]) Get() (T, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.value, l.changed
}

// Load returns the value alone.
func (l *Value[T]) Load() T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value
}

// Set replaces the value and wakes whoever watches.
func (l *Value[T]) Set(v T) { l.Update(func(T) (T, bool) { return v, true }) }

// Update replaces the value by what edit makes of it, unless edit reports that nothing changed. edit runs under the
// value's lock: it must not block or call the Value, and it must not modify what readers may hold.
func (l *Value[T]) Update(edit func(T) (next T, changed bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, changed := edit(l.value)
	if !changed {
		return
	}
	l.value = next
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Wait blocks until the value fulfils the condition and returns it, or the cause of ctx's end.
func (l *Value[T]) Wait(ctx context.Context, fulfils func(T) bool) (T, error) {
	for {
		v, changed := l.Get()
		if fulfils(v) {
			return v, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return v, context.Cause(ctx)
		}
	}
}
