package cmd

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/dev"
	"github.com/klkube/kl/ui"
)

func newDevCmd(e *env) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:   "dev [IMAGE…]",
		Short: "Roll workloads whenever their image has been built",
		Long: "Watch the builds of the local container engine, and restart the Deployments, StatefulSets and DaemonSets that\n" +
			"use an older image of that name, until Ctrl-C. A line for each says how many of its new pods are ready and how\n" +
			"long that took; of a container that crashes, the end of its log is shown. A newer build takes the place of one\n" +
			"that still rolls. Images named by digest, and pods without a workload, stay as they are.",
		Example: "  kl dev\n  kl dev app:dev web:dev -n shop",
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDev(cmd.Context(), e, namespace, args, cmd.Flags().Changed("name"))
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only workloads in this `namespace`")
	return cmd
}

func runDev(ctx context.Context, e *env, namespace string, names []string, named bool) error {
	var images []string
	for _, name := range names {
		full := dev.FullName(name)
		if full == "" {
			return usageError{&cluster.Error{
				Op: "watch builds of " + name, Err: errors.New("a build gives an image a name, and a tag"), Hint: "use a name such as app:dev, with no digest",
			}}
		}
		images = append(images, full)
	}
	f := targetFlags{namespace: namespace}
	o, err := f.options(e, named)
	if err != nil {
		return err
	}
	if o.Target.Layout == nil {
		return &cluster.Error{Op: "watch builds for " + o.Target.Name, Err: errors.New("no cluster of kl"), Hint: "name one with --name; see 'kl list'"}
	}
	o.Only = namespace != ""
	engine, driver, err := openEngine[cluster.ImageWatcher](ctx, e)
	if err != nil {
		return noBuilds(err)
	}
	err = ui.Dev(ctx, o, ui.DevOptions{Engine: engine, Images: images, Live: isTerminal(e.In) && isTerminal(e.Out)})
	if ctx.Err() != nil { // Ctrl-C is how it ends
		err = nil
	}
	return errors.Join(err, driver.Close())
}

// noBuilds is the error without an engine.
func noBuilds(err error) error {
	if errors.Is(err, os.ErrPermission) { // it says how to get one
		return err
	}
	var known *cluster.Error
	if errors.As(err, &known) { // its hint is about nodes
		err = known.Err
	}
	return &cluster.Error{Op: "watch builds", Err: err, Hint: "start Docker, or point DOCKER_HOST at a running engine"}
}
