package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/images"
)

// listOutput is the value of -o where names alone are of use, too: empty for text, "json" or "name".
type listOutput struct{ output }

// Set implements pflag.Value.
func (o *listOutput) Set(s string) error {
	if s == "name" {
		o.output = "name"
		return nil
	}
	if o.output.Set(s) != nil {
		return errors.New("use text, json or name")
	}
	return nil
}

func newImageListCmd(e *env) *cobra.Command {
	var o listOutput
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the images of all nodes",
		Long: "List the images of all nodes, with the nodes that have them, and the number of pods that use them. Nodes with\n" +
			"different images under one name make two lines. With -o name, every name is a line that 'kl image rm' understands.",
		Example: "  kl image ls\n  kl image ls -o json\n  kl image rm $(kl image ls -o name | grep ^app:)",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return imageList(cmd.Context(), e, o) },
	}
	cmd.Flags().VarP(&o, "output", "o", "output `format`: text, json or name (default text)")
	mustRegister(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json", "name"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func imageList(ctx context.Context, e *env, o listOutput) error {
	list, err := e.host(nil).ListImages(ctx, e.name)
	if err != nil {
		return err
	}
	for _, node := range list.Absent {
		fmt.Fprintf(e.Err, "kl: node %s is not connected: its images are not listed\n", node)
	}
	switch {
	case o.isJSON():
		return printJSON(e.Out, list.Images)
	case o.output == "name":
		for _, name := range imageNames(list) {
			fmt.Fprintln(e.Out, printable(name))
		}
		return nil
	case len(list.Images) == 0:
		fmt.Fprintf(e.Err, "Cluster %s has no images.\n", e.name)
		return nil
	}
	rows := [][]string{{"NAME", "ID", "SIZE", "NODES", "PODS", "SOURCE"}}
	for _, i := range list.Images {
		rows = append(rows, []string{images.Short(i.Name), shortID(i.ID), megabytes(i.Size), listedNodes(i.Nodes, list.Nodes), countPods(i), i.Source})
	}
	return table(e.Out, rows)
}

// imageNames returns the names of images, each once; the ID of one that has none.
func imageNames(list *host.ImageList) []string {
	var names []string
	for _, i := range list.Images {
		name := i.ID
		if i.Name != "" {
			name = images.Short(i.Name)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// shortID returns as much of an ID as docker prints.
func shortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}

func listedNodes(have, all []string) string {
	if len(have) == len(all) {
		return "all"
	}
	return strings.Join(have, ",")
}

func countPods(i host.ListedImage) string {
	var pods []string
	for _, use := range i.Uses {
		if !slices.Contains(pods, use.Pod) {
			pods = append(pods, use.Pod)
		}
	}
	if len(pods) == 0 {
		return ""
	}
	return strconv.Itoa(len(pods))
}

func newImageRemoveCmd(e *env) *cobra.Command {
	var force bool
	var o output
	cmd := &cobra.Command{
		Use:     "rm IMAGE…",
		Aliases: []string{"remove"},
		Short:   "Remove images from all nodes",
		Long: "Remove images from all nodes. An image is named as elsewhere (app, app:dev, localhost:5000/app, app@sha256:…), or by\n" +
			"its ID or the beginning of it. Another name of the same image stays. If a pod uses one of them, none is removed,\n" +
			"unless --force is given. Layers that no image needs any more stay for a week, or until\n" +
			"'kl image prune': somebody may build on them. A pod that needs an image which is gone gets it again, if the local\n" +
			"container engine, kl's registry or the registry of its name has it.",
		Example: "  kl image rm app:dev\n  kl image rm 1b2c3d4e5f60\n  kl image rm --force app:dev",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return imageRemove(cmd.Context(), e, args, force, o) },
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return e.completeImages(cmd.Context())
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "remove images that pods use, too: their containers run on")
	addOutput(cmd, &o)
	return cmd
}

func imageRemove(ctx context.Context, e *env, args []string, force bool, o output) error {
	removed, err := e.host(nil).RemoveImages(ctx, e.name, args, force)
	if err != nil {
		return err
	}
	if o.isJSON() {
		return printJSON(e.Out, removed)
	}
	for _, r := range removed {
		var names []string
		for _, name := range r.Names {
			if short := images.Short(name); !slices.Contains(names, short) {
				names = append(names, short)
			}
		}
		fmt.Fprintf(e.Out, "%s removed %s\n", r.Node, printable(strings.Join(names, ", ")))
	}
	return nil
}

// completeImages completes names of images that nodes have.
func (e *env) completeImages(ctx context.Context) ([]string, cobra.ShellCompDirective) {
	list, err := e.host(nil).ListImages(ctx, e.name)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return imageNames(list), cobra.ShellCompDirectiveNoFileComp
}
