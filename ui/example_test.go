package ui_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui"
)

// The dashboard of the current context of the user's kubeconfig.
func Example() {
	dashboard := func(ctx context.Context) error {
		targets, err := observe.Targets("", "")
		if err != nil {
			return err
		}
		return ui.Run(ctx, ui.Options{Target: targets[0], In: os.Stdin, Out: os.Stdout})
	}
	if err := dashboard(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// Events go to a Progress until it is closed.
func ExampleProgress() {
	p := ui.NewProgress(os.Stdout, ui.ProgressLines)
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	p.Event(cluster.Event{Time: at, Step: "control plane", State: cluster.StepStarted})
	p.Event(cluster.Event{Time: at.Add(3 * time.Second), Step: "control plane", State: cluster.StepDone, Seconds: 3})
	p.Close()
	// Output:
	// 12:00:00.000 control plane …
	// 12:00:03.000 control plane done in 3.00s
}

func ExampleParseSize() {
	w, h, err := ui.ParseSize("120x40")
	fmt.Println(w, h, err)
	// Output: 120 40 <nil>
}
