package host

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLabelAndTaintArguments(t *testing.T) {
	labels := labelArgs(map[string]string{"keep": "1", "gone": "1", "new": "old"}, map[string]string{"keep": "1", "new": "2", "add": ""})
	if diff := cmp.Diff([]string{"add=", "new=2", "gone-"}, labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	taints := taintArgs([]string{"a=1:NoSchedule", "b:NoExecute", "c=1:NoSchedule"}, []string{"a=2:NoSchedule", "c=1:NoSchedule", "d:NoExecute"})
	if diff := cmp.Diff([]string{"a=2:NoSchedule", "d:NoExecute", "b:NoExecute-"}, taints); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}
}
