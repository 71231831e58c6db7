package observe

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"k8s.io/klog/v2"
)

// What client-go logs goes to the logger of the latest session, also what loggers say that an earlier one has derived.
func TestLogClientsFollowsTheLatestSession(t *testing.T) {
	var first, second bytes.Buffer
	LogClients(slog.New(slog.NewTextHandler(&first, nil)))
	derived := klog.Background().WithValues("watch", "pods").WithName("reflector")
	derived.Info("one")
	LogClients(slog.New(slog.NewTextHandler(&second, nil)))
	derived.Info("two")
	klog.Background().Info("three")
	if got := first.String(); !strings.Contains(got, "msg=one") || !strings.Contains(got, "watch=pods") || strings.Count(got, "\n") != 1 {
		t.Errorf("the first logger got %q", got)
	}
	if got := second.String(); !strings.Contains(got, "msg=two") || !strings.Contains(got, "watch=pods") || !strings.Contains(got, "msg=three") {
		t.Errorf("the second logger got %q", got)
	}
}

// Goroutines of a session that has ended may still log while the next one begins: for the race detector.
func TestLogClientsWhileOthersLog(t *testing.T) {
	var logging sync.WaitGroup
	for range 4 {
		LogClients(slog.New(slog.DiscardHandler))
		logging.Go(func() {
			for range 1000 {
				klog.Background().V(2).Info("late")
			}
		})
	}
	logging.Wait()
}
