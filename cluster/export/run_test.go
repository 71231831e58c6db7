package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

// writes is a part that writes one file.
func writes(name string) part {
	return part{name, time.Second, func(_ context.Context, to *Folder) error { return to.Write(name+".txt", "a file", []byte(name)) }}
}

// TestHungPart checks that a part that ignores the end of its time holds up no other, keeps what it had written, and adds nothing later.
func TestHungPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, dir := open(t)
		wake, late := make(chan struct{}), make(chan error, 2)
		hung := part{"hung", 5 * time.Second, func(_ context.Context, to *Folder) error {
			w, err := to.Create("hung/log.txt", "a log")
			if err != nil {
				return err
			}
			fmt.Fprint(w, "before\nhalf a li")
			<-wake
			_, err = io.WriteString(w, "ne\n")
			late <- err
			_, err = to.Create("hung/more.txt", "more")
			late <- err
			return nil
		}}
		slow := part{"slow", 2 * time.Second, func(ctx context.Context, to *Folder) error {
			<-ctx.Done()
			return errors.Join(to.Write("slow.txt", "a file", []byte("slow")), ctx.Err())
		}}
		began := time.Now()
		var seen []string
		results, err := gatherAll(t.Context(), root, known{}, []Part{hung, slow, writes("quick")}, func(p Progress) {
			if text := fmt.Sprint(p.Done, " ", p.Running); !slices.Contains(seen, text) {
				seen = append(seen, text)
			}
		})
		if took := time.Since(began); err != nil || took != 5*time.Second+grace {
			t.Errorf("%v, after %s", err, took)
		}
		if d := cmp.Diff([]string{"1 [hung slow]", "2 [hung]"}, seen); d != "" {
			t.Error(d)
		}
		want := []gathered{
			{[]File{{"hung/log.txt", "a log (cut off)", 16}}, []string{"hung: not done within 5s; what was there by then is in the bundle"}},
			{[]File{{"slow.txt", "a file", 4}}, []string{"slow: not done within 2s; what was there by then is in the bundle"}},
			{[]File{{"quick.txt", "a file", 5}}, nil},
		}
		if d := cmp.Diff(want, results, cmp.AllowUnexported(gathered{})); d != "" {
			t.Error(d)
		}
		close(wake)
		if err1, err2 := <-late, <-late; !errors.Is(err1, errOver) || !errors.Is(err2, errOver) {
			t.Errorf("written late: %v, %v", err1, err2)
		}
		if data, err := os.ReadFile(filepath.Join(dir, "hung", "log.txt")); err != nil || string(data) != "before\nhalf a li" {
			t.Errorf("%v, %q", err, data)
		}
	})
}

// TestPanicOfAPart checks that a mistake in one part does not lose the others.
func TestPanicOfAPart(t *testing.T) {
	root, _ := open(t)
	broken := part{"broken", time.Second, func(context.Context, *Folder) error { panic("nil map") }}
	results, err := gatherAll(t.Context(), root, known{}, []Part{broken, writes("quick")}, func(Progress) {})
	if err != nil || len(results[1].files) != 1 || len(results[0].missing) != 1 || !strings.Contains(results[0].missing[0], "nil map") {
		t.Errorf("%v, %+v", err, results)
	}
}

// TestCanceled checks that the end of the context ends everything at once, also a part that ignores it.
func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, _ := open(t)
		interrupted := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		wake := make(chan struct{})
		defer close(wake)
		hung := part{"hung", time.Minute, func(context.Context, *Folder) error { <-wake; return nil }}
		began := time.Now()
		time.AfterFunc(time.Second, func() { cancel(interrupted) })
		_, err := gatherAll(ctx, root, known{}, []Part{hung}, func(Progress) {})
		if took := time.Since(began); !errors.Is(err, interrupted) || took != time.Second {
			t.Errorf("%v, after %s", err, took)
		}
	})
}

func TestTailWriter(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"one\ntwo\n", "one\ntwo\n"},
		{"one\ntwo\nthree\n", "(the first 8 bytes are left out)\nthree\n"},
		{strings.Repeat("one\n", 20), "(the first 72 bytes are left out)\none\none\n"},
		{"abcdefghijkl", "(the first 2 bytes are left out)\ncdefghijkl"},
	} {
		for _, size := range []int{1, 3, max(1, len(tt.text))} {
			w := &tailWriter{max: 10}
			for rest := tt.text; rest != ""; {
				n := min(size, len(rest))
				_, _ = w.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			if got := string(w.rest()); got != tt.want {
				t.Errorf("%q in steps of %d: %q, want %q", tt.text, size, got, tt.want)
			}
		}
	}
}

func TestSafe(t *testing.T) {
	for name, want := range map[string]string{"web-0": "web-0", "..": "_..", "": "_", "a/b": "a_b", "a\x00b\nc": "a_b_c", "system:node": "system_node", ".hidden": ".hidden"} {
		if got := safe(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}
