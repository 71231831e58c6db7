package manifests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
)

const (
	patience      = 15 * time.Second // for what appears shortly after the API does, such as the namespace kube-system
	retryInterval = 2 * time.Second  // between attempts of Run
	retryLimit    = 35 * time.Second // of one attempt: a webhook may take 30 s, and its name is in the error that comes then
)

// Writer applies the objects of one component and never gives up: what a user put into the API (a webhook that does not
// answer, an admission policy, a quota) may refuse them for as long as it is there, and must not end the component.
// Apply returns without what is refused, and Run retries it.
type Writer struct {
	Client dynamic.Interface
	Report func(error) // called with what is not as kl wants it, nil once there is nothing; nil is allowed

	mu      sync.Mutex
	pending []batch
	foreign error // objects that kl did not make
}

type batch struct {
	objects []*unstructured.Unstructured
	mode    Mode
	err     error // of the last attempt
}

// Apply applies objects. It tries for as long as they may become acceptable by themselves, and then leaves those that are
// refused to Run. It returns the conflicts, if any, and otherwise nil, or ctx's error.
func (w *Writer) Apply(ctx context.Context, objects []*unstructured.Unstructured, mode Mode) error {
	err := ApplyWithin(ctx, patience, w.Client, objects, mode)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.mu.Lock()
	if err == nil || OnlyConflicts(err) {
		w.foreign = errors.Join(w.foreign, onlyForeign(err))
	} else {
		w.pending = append(w.pending, batch{objects, mode, err})
		err = nil
	}
	w.mu.Unlock()
	w.report()
	return err
}

// Run retries what Apply left, until ctx is done.
func (w *Writer) Run(ctx context.Context) {
	for {
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return
		}
		if w.retry(ctx) {
			w.report()
		}
	}
}

// retry reports whether there was anything to try.
func (w *Writer) retry(ctx context.Context) bool {
	w.mu.Lock()
	todo := slices.Clone(w.pending)
	w.mu.Unlock()
	if len(todo) == 0 {
		return false
	}
	var left []batch
	for _, b := range todo {
		attempt, cancel := context.WithTimeout(ctx, retryLimit)
		err := Apply(attempt, w.Client, b.objects, b.mode)
		cancel()
		if ctx.Err() != nil {
			return false
		}
		if err != nil && !OnlyConflicts(err) {
			left = append(left, batch{b.objects, b.mode, err})
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(left, w.pending[len(todo):]...) // Apply may have added some
	return true
}

func (w *Writer) report() {
	if w.Report == nil {
		return
	}
	w.mu.Lock()
	errs := []error{w.foreign}
	for _, b := range w.pending {
		errs = append(errs, b.err)
	}
	w.mu.Unlock()
	w.Report(Summary(errors.Join(errs...)))
}

// Summary returns the first of several joined errors and how many others there are: one cause, such as a webhook, mostly
// refuses all of a component's objects. It is nil for nil.
func Summary(err error) error {
	list := flatten(err)
	// The end of the time for an attempt is only of interest if there is no other reason.
	if i := slices.Index(list, context.DeadlineExceeded); i >= 0 && len(list) > 1 {
		list = slices.Delete(list, i, i+1)
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return fmt.Errorf("%w (and %d more objects)", list[0], len(list)-1)
}

// flatten lists the errors that are joined in err.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var list []error
	for _, e := range joined.Unwrap() {
		list = append(list, flatten(e)...)
	}
	return list
}

// Refused reports whether something that a user put into the API refuses an object, so that waiting is of no use. The
// status codes do not tell: a server that is about to be ready answers Forbidden, too.
func Refused(err error) bool {
	for _, e := range flatten(err) {
		text := e.Error()
		for _, phrase := range []string{"failed calling webhook", "admission webhook", "ValidatingAdmissionPolicy", "exceeded quota"} {
			if strings.Contains(text, phrase) {
				return true
			}
		}
	}
	return false
}

// onlyForeign joins those errors that are about objects that kl did not make.
func onlyForeign(err error) error {
	var list []error
	for _, e := range flatten(err) {
		if errors.Is(e, ErrForeign) {
			list = append(list, e)
		}
	}
	return errors.Join(list...)
}
