package latest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/klkube/kl/cluster/latest"
)

func ExampleValue_Wait() {
	nodes := latest.New(0)
	go nodes.Set(3)
	n, err := nodes.Wait(context.Background(), func(n int) bool { return n == 3 })
	fmt.Println(n, err)
	// Output: 3 <nil>
}

func TestReadersMissNeitherTheLastValueNorAChange(t *testing.T) {
	v := latest.New(0)
	const last = 1000
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			seen := -1
			for {
				n, changed := v.Get()
				if n < seen {
					t.Errorf("read %d after %d", n, seen)
				}
				seen = n
				if n == last {
					return
				}
				<-changed
			}
		})
	}
	for i := 1; i <= last; i++ {
		v.Set(i)
	}
	readers.Wait()
}

func TestUpdateThatChangesNothingWakesNobody(t *testing.T) {
	v := latest.New("a")
	_, changed := v.Get()
	v.Update(func(s string) (string, bool) { return "ignored", false })
	select {
	case <-changed:
		t.Error("a reader was woken")
	default:
	}
	if got := v.Load(); got != "a" {
		t.Errorf("value is %q, want the old one", got)
	}
	v.Update(func(s string) (string, bool) { return s + "b", true })
	<-changed
	if got := v.Load(); got != "ab" {
		t.Errorf("value is %q, want ab", got)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := latest.New(false)
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() {
			_, err := v.Wait(ctx, func(b bool) bool { return b })
			done <- err
		}()
		synctest.Wait()
		cancel(cause)
		if err := <-done; !errors.Is(err, cause) {
			t.Errorf("Wait returned %v, want %v", err, cause)
		}
	})
}
