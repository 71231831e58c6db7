package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/images"
)

func newImageCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Short:   "List the images of the nodes, load and remove them",
		Example: "  kl image ls\n  kl image load app:dev\n  kl image rm app:dev",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageListCmd(e), newImageLoadCmd(e), newImagePullCmd(e), newImagePushCmd(e), newImageRefreshCmd(e), newImageRemoveCmd(e), newImagePruneCmd(e))
	return cmd
}

func newImageLoadCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "load FILE | IMAGE | - …",
		Short: "Load images into every node",
		Long: "Load images into all nodes at once: from a file or standard input (docker-archive or OCI tar, plain or\n" +
			"compressed with gzip or zstd), or by name from the local container engine. Nodes that already have an image\n" +
			"are skipped.",
		Example: "  kl image load app:dev web:dev\n  kl image load images.tar\n  docker save app:dev | kl image load -",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return imageLoad(cmd.Context(), e, args, o) },
	}
	addOutput(cmd, &o)
	return cmd
}

func imageLoad(ctx context.Context, e *env, args []string, o output) error {
	// Fail before saving images if there is no cluster to load them into.
	if _, err := cluster.ReadSpec(e.layout()); err != nil {
		return err
	}
	line := newLiveLine(e.Err)
	defer line.clear()
	e.loading = func(l host.Loading) { line.show(func() string { return loadingLine(l) }) }
	show := func(loaded []host.Loaded) {
		line.clear()
		if !o.isJSON() {
			printLoaded(e.Out, loaded)
		}
	}
	archives, names, cleanup, err := collectArchives(e, args)
	defer cleanup()
	if err != nil {
		return err
	}
	all, err := e.loadArchives(ctx, archives, show)
	if err == nil && len(names) > 0 {
		var more []host.Loaded
		more, err = e.loadNamed(ctx, names, show)
		all = append(all, more...)
	}
	if err == nil && o.isJSON() {
		err = printJSON(e.Out, all)
	}
	return err
}

func loadingLine(l host.Loading) string {
	text := "loading " + l.Title
	if l.Layers > 0 {
		text += fmt.Sprintf(": layer %d of %d", l.Layer, l.Layers)
	}
	if l.Bytes > 0 {
		text += fmt.Sprintf(", %.1f MB", float64(l.Bytes)/1e6)
	}
	return text
}

func (e *env) loadArchives(ctx context.Context, archives []images.Archive, show func([]host.Loaded)) ([]host.Loaded, error) {
	all := []host.Loaded{}
	for _, a := range archives {
		loaded, err := e.host(nil).LoadImages(ctx, e.name, a)
		if err != nil {
			return nil, err
		}
		show(loaded)
		all = append(all, loaded...)
	}
	return all, nil
}

func newLayers(n *int) string {
	switch {
	case n == nil:
		return ""
	case *n == 0:
		return " (no new layer)"
	case *n == 1:
		return " (1 new layer)"
	}
	return fmt.Sprintf(" (%d new layers)", *n)
}

func printLoaded(w io.Writer, loaded []host.Loaded) {
	for _, l := range loaded {
		names := strings.Join(l.Images, ", ")
		if l.Skipped {
			fmt.Fprintf(w, "%s already has %s\n", l.Node, names)
			continue
		}
		fmt.Fprintf(w, "%s loaded %s in %.1f s%s\n", l.Node, names, l.Seconds, newLayers(l.Layers))
	}
}

// collectArchives returns the archives that arguments stand for, and the arguments that are names of images. Files are taken as they
// are, and streams copied to temporary files, which the caller removes with cleanup, also after an error.
func collectArchives(e *env, args []string) (archives []images.Archive, names []string, cleanup func(), err error) {
	var temps []string
	cleanup = func() { e.removeTemps(temps) }
	for _, arg := range args {
		stream, err := e.openStream(arg)
		switch {
		case err != nil:
			return nil, nil, cleanup, images.BadArchive(arg, err)
		case stream != nil:
			archive, err := copyTemp(stream, streamName(arg), &temps)
			if err = errors.Join(err, stream.Close()); err != nil {
				return nil, nil, cleanup, err
			}
			archives = append(archives, archive)
		case isFile(arg):
			archives = append(archives, images.Archive{Path: arg})
		default:
			names = append(names, arg)
		}
	}
	return archives, names, cleanup, nil
}

func (e *env) removeTemps(files []string) {
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			e.Logger.Warn("remove temporary archive", "file", f, "err", err)
		}
	}
}

// copyTemp copies a stream to a temporary file, whose name it adds to temps.
func copyTemp(r io.Reader, name string, temps *[]string) (images.Archive, error) {
	f, err := os.CreateTemp("", "kl-image-*.tar")
	if err != nil {
		return images.Archive{}, err
	}
	*temps = append(*temps, f.Name())
	archive, err := images.CopyArchive(f, r, f.Name(), name)
	if err = errors.Join(err, f.Close()); err != nil {
		return archive, images.BadArchive(name, err)
	}
	archive.From = name
	return archive, nil
}

// isFile reports whether an argument is the path of a file, or of something that is there and no directory: an image may have
// the name of a directory.
func isFile(arg string) bool {
	info, err := os.Stat(arg)
	return err == nil && !info.IsDir()
}
