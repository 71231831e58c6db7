package notes

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

func everythingBelow(version string) storage.ListOptions {
	return storage.ListOptions{Recursive: true, ResourceVersion: version, Predicate: storage.Everything}
}

func create(t *testing.T, m *memory, name string) *Note {
	t.Helper()
	out := &Note{}
	if err := m.Create(t.Context(), "/notes/shop/"+name, &Note{ObjectMeta: metav1.ObjectMeta{Name: name}}, out, 0); err != nil {
		t.Fatal(err)
	}
	return out
}

// A watch that goes on from a version whose next changes are dropped, or from one of an earlier process, is told to list anew.
func TestWatchFromADroppedVersion(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	earlier := newMemory(now.Add(-time.Second))
	old := create(t, earlier, "old").ResourceVersion
	m := newMemory(now)
	first := create(t, m, "first").ResourceVersion
	second := create(t, m, "second").ResourceVersion
	for i := range maxChanges - 1 {
		create(t, m, fmt.Sprint("n", i))
	}
	for version, want := range map[string]watch.EventType{old: watch.Error, first: watch.Added, second: watch.Added} {
		e := firstEvent(t, m, version)
		if e.Type != want {
			t.Errorf("from %s: %+v, want %s", version, e, want)
		}
	}
	create(t, m, "last")
	e := firstEvent(t, m, first)
	if status, ok := e.Object.(*metav1.Status); !ok || status.Reason != metav1.StatusReasonExpired {
		t.Errorf("from a version whose next change is dropped: %+v", e)
	}
	if err := m.GetList(t.Context(), "/notes", everythingBelow("9999999999999999"), &NoteList{}); !storage.IsTooLargeResourceVersion(err) {
		t.Errorf("list of the future: %v", err)
	}
}

func firstEvent(t *testing.T, m *memory, version string) watch.Event {
	t.Helper()
	w, err := m.Watch(t.Context(), "/notes", everythingBelow(version))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	select {
	case e := <-w.ResultChan():
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
		return watch.Event{}
	}
}

// A slow watch gets every change, in order, while others write.
func TestSlowWatch(t *testing.T) {
	m := newMemory(time.Now())
	w, err := m.Watch(t.Context(), "/notes", everythingBelow(formatVersion(m.state.Load().version)))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for i := range 500 {
		create(t, m, fmt.Sprint(i))
	}
	for i := range 500 {
		if e := <-w.ResultChan(); e.Type != watch.Added || e.Object.(*Note).Name != fmt.Sprint(i) {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
}
