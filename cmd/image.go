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
)

func newImageCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Short:   "Load images into the nodes",
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
		Long: "Load images into all nodes at once: from a file or standard input (docker-archive or OCI tar, plain or\n" +
			"gzipped), or by name from the local container engine. Nodes that already have an image are skipped.",
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
			fmt.Fprintf(w, "%s already has %s\n", l.Node, names)
			continue
		}
		fmt.Fprintf(w, "%s loaded %s in %.1f s\n", l.Node, names, l.Seconds)
	}
}

// collectArchives returns the archive files that the arguments stand for: files as they are, standard input and images of
// the engine saved to temporary files. The caller calls cleanup, also after an error, to remove those.
func collectArchives(ctx context.Context, e *env, args []string) (files []string, cleanup func(), err error) {
	var temps, names []string
	cleanup = func() {
		for _, t := range temps {
			if err := os.Remove(t); err != nil {
				e.Logger.Warn("remove temporary archive", "file", t, "err", err)
			}
		}
	}
	saveTemp := func(r io.Reader) error {
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
			if err := saveTemp(e.In); err != nil {
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
	if err := saveTemp(r); err != nil {
		return nil, cleanup, fmt.Errorf("save %s: %w", strings.Join(names, ", "), err)
	}
	return files, cleanup, nil
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
