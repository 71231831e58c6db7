package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/bundle"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/cluster/statefile"
)

func newBundleCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "bundle",
		Short:   "Put images into one file, for machines without a network",
		Example: "  kl bundle create -o b.tar.zst -f app.yaml\n  kl up --bundle b.tar.zst",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBundleCreateCmd(e), newBundleListCmd(e))
	return cmd
}

func newBundleCreateCmd(e *env) *cobra.Command {
	var out string
	var manifests []string
	cmd := &cobra.Command{
		Use:   "create -o FILE [-f MANIFEST]… [IMAGE | ARCHIVE]…",
		Short: "Write images, and what they need, into one file",
		Long: "Write images for this machine's platform into one file, with every layer once: those that are named, all of an\n" +
			"archive, and with -f those that manifests need: whatever has the key image in the objects of a file, of the files\n" +
			"of a directory, or of standard input, as from 'kubectl kustomize'. They are taken from the archives, the local\n" +
			"container engine, kl's registry, or the registry of their name. 'kl up --bundle' and 'kl image load' read the file, and so does whatever reads an\n" +
			"OCI layout in a tar. The same images make the same bytes.",
		Example: "  kl bundle create -o b.tar.zst app:dev postgres:17\n  kl bundle create -o b.tar.zst -f deploy/ images.tar\n" +
			"  kubectl kustomize overlays/prod | kl bundle create -o b.tar.zst -f -",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case out == "":
				return misuse(cmd, errors.New("want the file to write with -o"))
			case len(args) == 0 && len(manifests) == 0:
				return misuse(cmd, errors.New("want images, archives, or manifests with -f"))
			case out == "-" && isTerminal(e.Out):
				return misuse(cmd, errors.New("a terminal is no place for a bundle: name a file"))
			}
			return bundleCreate(cmd.Context(), e, out, manifests, args)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "`file` to write; - is standard output")
	cmd.Flags().StringArrayVarP(&manifests, "filename", "f", nil, "`manifests` that need images: a file, a directory or - for standard input; may be given more than once")
	return cmd
}

func bundleCreate(ctx context.Context, e *env, out string, manifests, args []string) (err error) {
	began := time.Now()
	refs, err := e.manifestRefs(manifests)
	if err != nil {
		return err
	}
	g := &gatherer{env: e, network: true}
	defer func() { err = errors.Join(err, g.close()) }()
	if err := g.gather(ctx, args, refs); err != nil {
		return err
	}
	if len(g.items) == 0 {
		return &cluster.Error{Op: "write " + out, Err: errors.New("the manifests need no images")}
	}
	line := newLiveLine(e.Err)
	progress := func(p bundle.Progress) {
		line.show(func() string {
			return fmt.Sprintf("%s: %d layers, %.1f MB", p.Image, p.Layers, float64(p.Bytes)/1e6)
		})
	}
	var written bundle.Written
	write := func(w io.Writer) error {
		written, err = bundle.Write(ctx, w, g.items, progress)
		return err
	}
	if out == "-" {
		err = write(e.Out)
		line.clear()
		return err
	}
	size, err := statefile.WriteWhole(out, 0o644, write)
	line.clear()
	if err != nil {
		return &cluster.Error{Op: "write " + out, Err: statefile.Cause(err)}
	}
	fmt.Fprintf(e.Out, "%s: %s, %s of %.1f MB in %.1f MB, in %.1f s\n",
		printable(out), plural(written.Images, "image"), plural(written.Layers, "layer"), float64(written.Bytes)/1e6, float64(size)/1e6, time.Since(began).Seconds())
	return nil
}

func newBundleListCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "list FILE",
		Aliases: []string{"ls"},
		Short:   "List the images of a bundle, or of another archive",
		Example: "  kl bundle ls b.tar.zst\n  docker save app:dev | kl bundle ls -",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return bundleList(cmd.Context(), e, args[0], o) },
	}
	addOutput(cmd, &o)
	return cmd
}

// bundledImage is an image of an archive for -o json.
type bundledImage struct {
	Names  []string `json:"names"`
	ID     string   `json:"id"`
	Digest string   `json:"digest"`
	Layers int      `json:"layers"`
	Size   int64    `json:"size"` // bytes of the layers, as they are in the archive
}

func bundleList(ctx context.Context, e *env, file string, o output) error {
	archives, names, cleanup, err := collectArchives(e, []string{file})
	defer cleanup()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return images.BadArchive(file, os.ErrNotExist)
	}
	source, err := archives[0].Open()
	if err != nil {
		return images.BadArchive(archives[0].Title(), err)
	}
	defer source.Close()
	list, err := source.Images(ctx)
	if err != nil {
		return images.BadArchive(archives[0].Title(), err)
	}
	bundled := []bundledImage{}
	for _, i := range list {
		b := bundledImage{Names: i.Names, ID: i.ID().String(), Digest: i.Digest().String(), Layers: len(i.Layers)}
		if b.Size, err = i.Size(); err != nil {
			return images.BadArchive(archives[0].Title(), err)
		}
		bundled = append(bundled, b)
	}
	if o.isJSON() {
		return printJSON(e.Out, bundled)
	}
	rows := [][]string{{"NAME", "ID", "LAYERS", "SIZE"}}
	for _, b := range bundled {
		for _, name := range append(b.Names, "")[:max(1, len(b.Names))] {
			rows = append(rows, []string{images.Short(name), shortID(b.ID), strconv.Itoa(b.Layers), megabytes(b.Size)})
		}
	}
	return table(e.Out, rows)
}
