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
		Short:   "Load images into the nodes, and remove those that are not used",
		Example: "  kl image load app:dev\n  kl image prune",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageLoadCmd(e), newImagePruneCmd(e))
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
	archives, cleanup, err := collectArchives(ctx, e, args)
	defer cleanup()
	if err != nil {
		return err
	}
	all := []host.Loaded{}
	for _, a := range archives {
		loaded, err := e.host(nil).LoadImages(ctx, e.name, a)
		if err != nil {
			return err
		}
		all = append(all, loaded...)
		if !o.isJSON() {
			printLoaded(e.Out, loaded)
		}
	}
	if o.isJSON() {
		return printJSON(e.Out, all)
	}
	return nil
}

func printLoaded(w io.Writer, loaded []host.Loaded) {
	for _, l := range loaded {
		names := strings.Join(l.Images, ", ")
		if l.Skipped {
			fmt.Fprintf(w, "%s already has %s\n", l.Node, names)
			continue
		}
		fmt.Fprintf(w, "%s loaded %s in %.1f s\n", l.Node, names, l.Seconds)
	}
}

// collectArchives returns the archives that the arguments stand for: files as they are, streams and images of the engine copied
// to temporary files. The caller calls cleanup, also after an error, to remove those.
func collectArchives(ctx context.Context, e *env, args []string) (archives []images.Archive, cleanup func(), err error) {
	var temps, names []string
	cleanup = func() {
		for _, t := range temps {
			if err := os.Remove(t); err != nil {
				e.Logger.Warn("remove temporary archive", "file", t, "err", err)
			}
		}
	}
	copyTemp := func(r io.Reader, name string) error {
		f, err := os.CreateTemp("", "kl-image-*.tar")
		if err != nil {
			return err
		}
		temps = append(temps, f.Name())
		archive, err := images.CopyArchive(f, r, f.Name(), name)
		if err = errors.Join(err, f.Close()); err != nil {
			return host.BadArchive(name, err)
		}
		archives = append(archives, archive)
		return nil
	}
	for _, arg := range args {
		stream, err := e.openStream(arg)
		switch {
		case err != nil:
			return nil, cleanup, host.BadArchive(arg, err)
		case stream != nil:
			if err := errors.Join(copyTemp(stream, streamName(arg)), stream.Close()); err != nil {
				return nil, cleanup, err
			}
		case isFile(arg):
			archives = append(archives, images.Archive{Path: arg})
		default:
			names = append(names, arg)
		}
	}
	if len(names) == 0 {
		return archives, cleanup, nil
	}
	r, err := e.saveImages(ctx, names)
	if err != nil {
		return nil, cleanup, err
	}
	defer r.Close()
	return archives, cleanup, copyTemp(r, strings.Join(names, ", "))
}

// isFile reports whether an argument is the path of a file, or of something that is there and no directory: an image may have
// the name of a directory.
func isFile(arg string) bool {
	info, err := os.Stat(arg)
	return err == nil && !info.IsDir()
}

// saveImages saves images from the engine of the first driver that can be opened and has one.
func (e *env) saveImages(ctx context.Context, names []string) (io.ReadCloser, error) {
	what := strings.Join(names, ", ")
	for _, f := range e.Drivers {
		d, err := f.Open(ctx, e.Logger)
		if err != nil {
			e.Logger.Debug("skip driver", "driver", f.Name, "err", err) // it may not be installed
			continue
		}
		source, ok := d.(cluster.ImageSource)
		if !ok {
			if err := d.Close(); err != nil {
				e.Logger.Warn("close driver", "driver", f.Name, "err", err)
			}
			continue
		}
		r, err := source.SaveImages(ctx, names)
		if err != nil {
			return nil, &cluster.Error{Op: "find " + what, Err: errors.Join(err, d.Close()), Hint: "there is no such file, and no such image in " + string(f.Name)}
		}
		return closeBoth{r, d}, nil
	}
	return nil, &cluster.Error{
		Op: "find " + what, Err: os.ErrNotExist, Hint: "there is no such file, and no container engine to take the image from",
	}
}

// closeBoth is a stream of a driver that closes the driver too.
type closeBoth struct {
	io.ReadCloser
	driver cluster.Driver
}

func (c closeBoth) Close() error { return errors.Join(c.ReadCloser.Close(), c.driver.Close()) }
