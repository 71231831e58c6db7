package kltest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	a := &API{Name: "test-x", Kubeconfig: "/k"}
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"zero", Options{}, "up --name test-x --kubeconfig /k --nodes 0 --ephemeral"},
		{
			"all", Options{Nodes: 2, Simulated: 9, Durable: true, Timeout: time.Minute},
			"up --name test-x --kubeconfig /k --nodes 2 --simulated 9 --timeout 1m0s",
		},
		{
			"file", Options{Config: "kl.yaml"}, // kl refuses --nodes with a file
			"up --name test-x --kubeconfig /k --file kl.yaml --ephemeral",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, strings.Join(tt.o.arguments(a), " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWithoutKl(t *testing.T) {
	t.Setenv("KL_BINARY", "/does/not/exist/kl")
	_, err := Start(t.Context(), Options{})
	if err == nil || !strings.Contains(err.Error(), "$KL_BINARY") {
		t.Errorf("Start gives %v, want a word on where kl is looked for", err)
	}
}
