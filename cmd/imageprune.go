package cmd

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func newImagePruneCmd(e *env) *cobra.Command {
	var all bool
	var o output
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove images that no container uses",
		Long: "Remove the images that no container uses from all nodes that run. Images that were loaded stay, since nothing\n" +
			"can pull them again, unless --all is given. It works without a control plane, as on a full disk.",
		Example: "  kl image prune\n  kl image prune --all",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return imagePrune(cmd.Context(), e, all, o) },
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "remove images that were loaded, too")
	addOutput(cmd, &o)
	return cmd
}

func imagePrune(ctx context.Context, e *env, all bool, o output) error {
	pruned, err := e.host(nil).PruneImages(ctx, e.name, all)
	if err != nil {
		return err
	}
	if o.isJSON() {
		return printJSON(e.Out, pruned)
	}
	for _, n := range pruned {
		switch {
		case n.Skipped:
			fmt.Fprintf(e.Out, "%s does not run: its images stay\n", n.Node)
		case len(n.Images) == 0:
			fmt.Fprintf(e.Out, "%s has no image to remove\n", n.Node)
		}
		for _, i := range n.Images {
			printRemoved(e.Out, n.Node, i.Names, i.Digest, i.Size)
		}
	}
	return nil
}

func printRemoved(w io.Writer, node string, names []string, digest string, size int64) {
	name := digest
	if len(names) > 0 {
		name = strings.Join(names, ", ")
	}
	fmt.Fprintf(w, "%s removed %s (%.1f MB)\n", node, name, float64(size)/1e6)
}
