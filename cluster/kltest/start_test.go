package kltest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/wait"
)

func TestStartAndStop(t *testing.T) {
	calls := useFake(t, "")
	api, err := Start(t.Context(), Options{Simulated: 3})
	if err != nil {
		t.Fatal(err)
	}
	if api.Config.Host != "https://127.0.0.1:1" || api.Config.QPS >= 0 {
		t.Errorf("host %s, %v queries a second", api.Config.Host, api.Config.QPS)
	}
	if err := api.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	have, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	want := "up --name " + api.Name + " --kubeconfig " + api.Kubeconfig + " --nodes 0 --simulated 3 --ephemeral\ndown --name " + api.Name + "\n"
	if diff := cmp.Diff(want, string(have)); diff != "" {
		t.Errorf("calls of kl (-want +got):\n%s", diff)
	}
	if err := api.Stop(); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if !nothingLeft(t) {
		t.Error("a directory is left")
	}
}

// TestAFailureIsExplainedAndLeavesNothing runs kl that fails, and a program that is not kl.
func TestAFailureIsExplainedAndLeavesNothing(t *testing.T) {
	calls := useFake(t, "fails")
	if _, err := Start(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("Start gives %v", err)
	}
	if got := verbs(t, calls); got != "up" {
		t.Errorf("calls of kl: %s", got)
	}
	if _, err := Start(t.Context(), Options{Binary: "false"}); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("Start of another program gives %v", err)
	}
	if !nothingLeft(t) {
		t.Error("a directory is left")
	}
}

// TestStartWithoutAKubeconfig runs a kl that says it has started and has not: it must be stopped.
func TestStartWithoutAKubeconfig(t *testing.T) {
	calls := useFake(t, "lies")
	if _, err := Start(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "kubeconfig") {
		t.Errorf("Start gives %v", err)
	}
	if got := verbs(t, calls); got != "up down" {
		t.Errorf("calls of kl: %s", got)
	}
	if !nothingLeft(t) {
		t.Error("a directory is left")
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	calls := useFake(t, "waits")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := Start(ctx, Options{})
		failed <- err
	}()
	eventually(t, "up is called", func() bool { return verbs(t, calls) == "up" })
	cancel()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("Start gives %v", err)
	}
	if got := verbs(t, calls); got != "up interrupted down" {
		t.Errorf("calls of kl: %s", got)
	}
	if !nothingLeft(t) {
		t.Error("a directory is left")
	}
}

// TestStopWithoutAHolder: a holder that was killed has not taken the cluster down.
func TestStopWithoutAHolder(t *testing.T) {
	calls := useFake(t, "")
	api, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.held.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := api.Stop(); err != nil {
		t.Error(err)
	}
	if got := verbs(t, calls); got != "up down" {
		t.Errorf("calls of kl: %s", got)
	}
	if !nothingLeft(t) {
		t.Error("a directory is left")
	}
}

// eventually waits until ok returns true; ten seconds are what a control plane may outlive its owner.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 10*time.Second, true,
		func(context.Context) (bool, error) { return ok(), nil })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
