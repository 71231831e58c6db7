package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/images"
)

func newImagePullCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "pull IMAGE…",
		Short: "Bring images to all nodes, from wherever they are",
		Long: "Bring images to all nodes, as for a pod with imagePullPolicy Always: from the local container engine, from kl's\n" +
			"registry, or from the registry that the name has, with the credentials of your docker config. What is pulled once\n" +
			"serves all nodes and clusters. Pods do not need that: they get their images by themselves.",
		Example: "  kl image pull postgres:17 app:dev",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			show := func(p host.PulledImage) {
				if !o.isJSON() {
					fmt.Fprintln(e.Out, printable(pulledLine(p)))
				}
			}
			pulled, err := e.host(nil).PullImages(cmd.Context(), e.name, args, show)
			if err != nil || !o.isJSON() {
				return err
			}
			return printJSON(e.Out, pulled)
		},
	}
	addOutput(cmd, &o)
	return cmd
}

// place is what messages call the sources of images.
func place(source string) string {
	switch source {
	case images.FromEngine:
		return "the container engine"
	case images.FromRegistry:
		return "kl's registry"
	case images.FromUpstream:
		return "its registry"
	}
	return source
}

func pulledLine(p host.PulledImage) string {
	name := images.Short(p.Image)
	if !p.Renewed() {
		return fmt.Sprintf("%s already has %s", p.Node, name)
	}
	return fmt.Sprintf("%s has %s from %s in %.1f s%s", p.Node, name, place(p.Source), p.Seconds, newLayers(&p.NewLayers))
}

func newImageRefreshCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "refresh [IMAGE…]",
		Short: "Replace images of nodes by newer builds",
		Long: "Have all nodes look again whether the local container engine or kl's registry has a newer build of the images that\n" +
			"they have, or of those that are named. Registries of the network are not asked: 'kl image pull' does that. Pods run\n" +
			"on with the image that they have until they are restarted; every new container gets the newest build by itself.",
		Example: "  kl image refresh\n  kl image refresh app:dev",
		RunE:    func(cmd *cobra.Command, args []string) error { return imageRefresh(cmd.Context(), e, args, o) },
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return e.completeImages(cmd.Context())
		},
	}
	addOutput(cmd, &o)
	return cmd
}

func imageRefresh(ctx context.Context, e *env, args []string, o output) error {
	renewed := []host.PulledImage{}
	_, err := e.host(nil).RefreshImages(ctx, e.name, args, func(p host.PulledImage) {
		if !p.Renewed() {
			return
		}
		renewed = append(renewed, p)
		if !o.isJSON() {
			fmt.Fprintln(e.Out, printable(pulledLine(p)))
		}
	})
	switch {
	case err != nil:
		return err
	case o.isJSON():
		return printJSON(e.Out, renewed)
	case len(renewed) == 0:
		fmt.Fprintln(e.Out, "No image has a newer build.")
	}
	return nil
}
