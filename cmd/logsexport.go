package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/export"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/observe"
)

// documentLimit is how long one of kl's own commands may take whose output goes into a support bundle.
const documentLimit = 30 * time.Second

func newLogsExportCmd(e *env) *cobra.Command {
	var to export.Destination
	cmd := &cobra.Command{
		Use:   "export DIR | -o FILE",
		Short: "Write a support bundle: all logs, objects, events and the state of nodes",
		Long: "Write a support bundle of the cluster into a new or empty directory, or into an archive: logs of components, nodes\n" +
			"and pods, events, all objects of the API, the audit log, what nodes look like from inside, and what kl knows of\n" +
			"cluster and machine. index.txt begins with what looks wrong, says what is where, and what is missing and why:\n" +
			"of a cluster that is stopped or does not answer the bundle has whatever is left.\n\n" +
			"Values of Secrets are left out, and so are private keys, tokens and kubeconfigs. What programs have logged is in\n" +
			"it, so look through a bundle before you give it to others.",
		Example: "  kl logs export bundle\n  kl logs export -o bundle.tar.zst --name big",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			to.Dir = strings.Join(args, "")
			if (to.Dir == "") == (to.File == "") {
				return misuse(cmd, errors.New("want a directory, or an archive with -o"))
			}
			return logsExport(cmd.Context(), e, to)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	cmd.Flags().StringVarP(&to.File, "output", "o", "", "archive to write, a `file` that ends in .tar.zst, .tar.gz or .tar")
	return cmd
}

func logsExport(ctx context.Context, e *env, to export.Destination) error {
	if err := e.checkExists(); err != nil {
		return err
	}
	observe.LogClients(e.Logger) // its own words about what fails are not for the terminal
	show := newExportProgress(e.Err)
	r, err := export.Write(ctx, to, e.exported(), show.progress)
	show.line.clear()
	if err != nil {
		return err
	}
	switch r.Findings {
	case 0:
	case 1:
		fmt.Fprintln(e.Out, "1 thing looks wrong: see the top of index.txt.")
	default:
		fmt.Fprintf(e.Out, "%d things look wrong: see the top of index.txt.\n", r.Findings)
	}
	if r.Missing > 0 {
		fmt.Fprintf(e.Out, "%s could not be gathered: index.txt says why.\n", plural(r.Missing, "thing"))
	}
	private := "Values of Secrets are left out."
	if !r.Searched {
		private = "Values of Secrets are left out, but logs could not be searched for them."
	}
	fmt.Fprintf(e.Out, "Bundle of cluster %s: %s, %s in %s. %s\n", e.name, printable(r.Path), plural(r.Files, "file"), export.Size(r.Bytes), private)
	return nil
}

// checkExists returns an error if there is no cluster of that name. A damaged one exists.
func (e *env) checkExists() error {
	_, err := cluster.ReadSpec(e.layout())
	if err == nil {
		return nil
	}
	names, listErr := e.Home.Names()
	for _, name := range names {
		if name == e.name {
			return nil
		}
	}
	return errors.Join(err, listErr)
}

// exported is the cluster as package export sees it.
func (e *env) exported() export.Cluster {
	l := e.layout()
	return export.Cluster{
		Layout: l, Version: e.Version.KL,
		Inspect: func(ctx context.Context) (host.Info, error) { return e.host(nil).Inspect(ctx, e.name) },
		Driver: func(ctx context.Context) (cluster.Driver, error) {
			return e.host(nil).Driver(ctx, e.name)
		},
		REST: func() (*rest.Config, error) {
			if err := host.Serving(l); err != nil {
				return nil, err
			}
			return observe.Target{Name: e.name, Kubeconfig: l.Kubeconfig(), Layout: &l}.REST()
		},
		Documents: []export.Document{
			{File: "status.txt", About: "output of kl status", Limit: documentLimit, Write: e.document(func(ctx context.Context, e *env) error { return status(ctx, e, "") })},
			{File: "status.json", About: "the same for programs", Limit: documentLimit, Write: e.document(func(ctx context.Context, e *env) error { return status(ctx, e, "json") })},
			{File: "version.txt", About: "output of kl version", Limit: documentLimit, Write: e.document(func(_ context.Context, e *env) error { return version(e, "") })},
			{File: "doctor.txt", About: "output of kl doctor: problems of this machine", Limit: documentLimit, Write: e.document(func(ctx context.Context, e *env) error {
				var failed exitError
				if err := runDoctor(ctx, e, ""); !errors.As(err, &failed) { // its output says what fails
					return err
				}
				return nil
			})},
		},
	}
}

// document is the output of a command as a file.
func (e *env) document(run func(context.Context, *env) error) func(context.Context, io.Writer) error {
	return func(ctx context.Context, w io.Writer) error {
		quiet := *e
		quiet.Out, quiet.Err, quiet.In = w, w, strings.NewReader("")
		return run(ctx, &quiet)
	}
}

// exportProgress shows how far an export is: on a terminal as one line, elsewhere as a line now and then.
type exportProgress struct {
	line *liveLine
	w    io.Writer
	next time.Time // of a line without a terminal
}

// exportSilence is how long an export may say nothing where there is no terminal.
const exportSilence = 10 * time.Second

func newExportProgress(w io.Writer) *exportProgress {
	return &exportProgress{line: newLiveLine(w), w: w, next: time.Now().Add(exportSilence)}
}

func (x *exportProgress) progress(p export.Progress) {
	text := func() string {
		return fmt.Sprintf("%d of %d done, %s; waiting for %s", p.Done, p.Of, export.Size(p.Bytes), strings.Join(p.Running, ", "))
	}
	if x.line.w != nil {
		x.line.show(text)
		return
	}
	if time.Now().After(x.next) {
		fmt.Fprintln(x.w, text())
		x.next = time.Now().Add(exportSilence)
	}
}
