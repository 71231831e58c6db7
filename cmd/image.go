package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klkube/kl/cluster/host"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
)

func newImageCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Short:   "Give images to the nodes",
		Example: "  kl image load app:dev",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageLoadCmd(e))
	return cmd
}

func newImageLoadCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "load FILE | IMAGE | - …",
		Short: "Load images into every node",
		Long: "Load images into every node at once: from a file or the standard input (docker-archive or OCI tar,\n" +
			"plain or gzip) or, by name, from the local container engine. A node that has them is left alone.",
		Example: "  kl image load app:dev web:dev\n  kl image load images.tar\n  docker save app:dev | kl image load -",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return imageLoad(cmd.Context(), e, args, o) },
	}
	addOutput(cmd, &o)
	return cmd
}

func imageLoad(ctx context.Context, e *env, args []string, o output) error {
	// A cluster that is not there is said before anything is saved.
	if _, err := cluster.ReadSpec(e.layout()); err != nil {
		return err
	}
	files, cleanup, err := collectArchives(ctx, e, args)
	defer cleanup()
	if err != nil {
		return err
	}
	all := []host.Loaded{}
	for _, file := range files {
		loaded, err := e.host(nil).LoadImages(ctx, e.name, file)
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
			fmt.Fprintf(w, "%s has %s already\n", l.Node, names)
			continue
		}
		fmt.Fprintf(w, "%s got %s in %.1f s\n", l.Node, names, l.Seconds)
	}
}

// collectArchives turns arguments into archive files: those that are files as they are, the standard input and images
// of the engine as temporary files, which cleanup removes.
func collectArchives(ctx context.Context, e *env, args []string) (files []string, cleanup func(), err error) {
	var temps, names []string
	cleanup = func() {
		for _, t := range temps {
			os.Remove(t)
		}
	}
	keep := func(r io.Reader) error {
		f, err := os.CreateTemp("", "kl-image-*.tar")
		if err != nil {
			return err
		}
		temps = append(temps, f.Name())
		files = append(files, f.Name())
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	}
	for _, arg := range args {
		if arg == "-" {
			if err := keep(e.In); err != nil {
				return nil, cleanup, fmt.Errorf("read standard input: %w", err)
			}
			continue
		}
		if info, err := os.Stat(arg); err == nil && !info.IsDir() {
			files = append(files, arg)
			continue
		}
		names = append(names, arg)
	}
	if len(names) == 0 {
		return files, cleanup, nil
	}
	r, err := e.saveImages(ctx, names)
	if err != nil {
		return nil, cleanup, err
	}
	defer r.Close()
	if err := keep(r); err != nil {
		return nil, cleanup, fmt.Errorf("save %s: %w", strings.Join(names, ", "), err)
	}
	return files, cleanup, nil
}

// saveImages asks the first driver whose backend has images.
func (e *env) saveImages(ctx context.Context, names []string) (io.ReadCloser, error) {
	what := strings.Join(names, ", ")
	for _, f := range e.Drivers {
		d, err := f.Open(ctx, e.Logger)
		if err != nil {
			continue
		}
		source, ok := d.(cluster.ImageSource)
		if !ok {
			d.Close()
			continue
		}
		r, err := source.SaveImages(ctx, names)
		if err != nil {
			d.Close()
			return nil, &cluster.Error{Op: "find " + what, Err: err, Hint: "it is neither a file nor an image of " + f.Name}
		}
		return closeBoth{r, d}, nil
	}
	return nil, &cluster.Error{
		Op: "find " + what, Err: os.ErrNotExist, Hint: "it is not a file, and no container engine answers that might have the image",
	}
}

// closeBoth closes the driver with the stream that comes from it.
type closeBoth struct {
	io.ReadCloser
	driver cluster.Driver
}

func (c closeBoth) Close() error { return errors.Join(c.ReadCloser.Close(), c.driver.Close()) }
