package node

import (
	"errors"
	"strings"
	"testing"
)

func TestExplainCRI(t *testing.T) {
	const fsnotify = "load containerd's CRI plugin: failed to create CRI service: failed to create cni conf monitor for default: " +
		"failed to create fsnotify watcher: too many open files"
	if got := explainCRI(errors.New(fsnotify)).Error(); !strings.Contains(got, "sysctl fs.inotify.max_user_instances") {
		t.Errorf("the error does not say what to do: %s", got)
	}
	other := errors.New("load containerd's CRI plugin: no disk")
	if got := explainCRI(other); !errors.Is(got, other) || got.Error() != other.Error() {
		t.Errorf("changed: %v", got)
	}
}
