// Package lifecycle runs the parts of a program that depend on each other: it starts them in dependency order, in parallel
// where they do not depend on each other, restarts those that fail, and stops all of them in reverse order.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/klkube/kl/cluster"
)

// Component is one long-running part of the control plane.
//
//	new ──Run──► starting ──ready()──► serving ──ctx done──► returned
//
// Run blocks until ctx is done or the component fails. It calls ready at most once. By the time it returns, its
// goroutines, ports and files are released. Returning ctx.Err() after cancellation is a clean stop; any other
// return, nil included, is a failure. Run is called once; it must not exit the process.
type Component interface {
	Name() cluster.ComponentName
	Run(ctx context.Context, ready func()) error
}

// Reporter is a Component that can report errors while it serves. Report is called before Run; during Run, report sets the
// error in the component's status, and nil clears it. report must not be called from within ready.
type Reporter interface {
	Report(report func(error))
}

// Unit is a component and how it is run.
type Unit struct {
	Component Component
	// Needs names the units that must have become ready once before this one starts. They are stopped after it.
	Needs []cluster.ComponentName
	// Again returns a new component to run after a failure: Run is called once for each, so returning one that has run fails
	// the supervisor. If Again is nil, the first failure does.
	Again func() Component
	// Forever is for a unit that the others can do without: however often it fails, it is made again.
	Forever bool
	// StopTimeout is how long Run may take to return once its context is done; 5s if zero. A component that outlives it
	// is named in the supervisor's error and left behind.
	StopTimeout time.Duration
}

func (u Unit) name() cluster.ComponentName { return u.Component.Name() }

// permanent marks an error that another attempt cannot fix.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent wraps the error of a component that must not be restarted: a wrong flag, a missing file.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

var (
	// errReturned is the failure of a component that returned nil although it was not asked to stop.
	errReturned = errors.New("returned without being asked to")
	// errSameInstance is the failure of a unit whose Again returned the component that has just run.
	errSameInstance = errors.New("cannot restart: Again returned the component that has already run")
)

// Guard calls f and turns a panic on its goroutine into an error without a stack: for code of others that panics on wrong input.
func Guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return f()
}

// call runs a component once. A panic on its goroutine becomes an error with the stack in its message. Panics on other
// goroutines still end the process: Go has no way to catch them.
func call(ctx context.Context, c Component, ready func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = Permanent(fmt.Errorf("panic in %s: %v\n%s", c.Name(), r, debug.Stack()))
		}
	}()
	err = c.Run(ctx, ready)
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	if err == nil {
		return errReturned
	}
	return err
}

// sameInstance reports whether two components are one: the same pointer to something that holds state.
func sameInstance(a, b Component) bool {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	return va.Kind() == reflect.Pointer && va.Type() == vb.Type() && va.Pointer() == vb.Pointer() && va.Type().Elem().Size() > 0
}

// order checks that names are unique, that needs exist and that they have no cycles. It returns the names sorted so that
// every unit comes after those it needs.
func order(units []Unit) ([]cluster.ComponentName, error) {
	needs := make(map[cluster.ComponentName][]cluster.ComponentName, len(units))
	for _, u := range units {
		if _, ok := needs[u.name()]; ok {
			return nil, fmt.Errorf("component %s is listed twice", u.name())
		}
		needs[u.name()] = u.Needs
	}
	const visiting, done = 1, 2
	state := make(map[cluster.ComponentName]int, len(units))
	var sorted []cluster.ComponentName
	var visit func(name, by cluster.ComponentName) error
	visit = func(name, by cluster.ComponentName) error {
		wants, ok := needs[name]
		switch {
		case !ok:
			return fmt.Errorf("component %s needs %s, which does not exist", by, name)
		case state[name] == done:
			return nil
		case state[name] == visiting:
			return fmt.Errorf("component %s needs itself through %s", name, by)
		}
		state[name] = visiting
		for _, w := range wants {
			if err := visit(w, name); err != nil {
				return err
			}
		}
		state[name] = done
		sorted = append(sorted, name)
		return nil
	}
	for _, u := range units {
		if err := visit(u.name(), u.name()); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}
