package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/ephemeral"
	"github.com/klkube/kl/cluster/host"
)

// bundleTimeout bounds how long a support bundle may keep a cluster from being removed.
const bundleTimeout = 2 * time.Minute

// bundleDelay is what is left to it then to finish what it has.
const bundleDelay = 5 * time.Second

// runFlags are the flags of kl run: those of kl up, and its own.
type runFlags struct {
	upFlags
	artifacts string
	keep      bool
}

func newRunCmd(e *env) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,

		Use:   "run [flags] -- COMMAND…",
		Short: "Run a command with a cluster of its own, for CI",
		Long: "Create a cluster, run a command, and remove the cluster, however the command or kl ends: also when kl is killed.\n" +
			"The cluster has a temporary directory as KL_HOME and a name of its own; several can run at once. The command gets\n" +
			"KUBECONFIG, KL_HOME and KL_CLUSTER, so that kubectl, kl and clients find the cluster; your own kubeconfig stays as\n" +
			"it is. Where there is no kubectl, it gets the built-in one. Input and output are the command's, kl writes to\n" +
			"standard error alone, and signals are passed on.\n\n" +
			"The exit code is the command's, 128 and the signal's number if a signal ended it, 127 or 126 if there is no such\n" +
			"command or it cannot be run, which is found out first, and 1 if the cluster does not start.",
		Example: "  kl run -- make test\n\n  # on two nodes; what there is to know of a failure is in logs/run-…\n  kl run --nodes 2 --artifacts logs -- go test ./e2e/...\n\n" +
			"  kl run -- kubectl get namespaces -o json | jq .\n\n  # an API server alone, without a container engine or root\n  kl run --nodes 0 -- ./controller-test\n\n" +
			"  # several commands\n  kl run -f kl.yaml -- sh -c 'kl image load app:dev && kubectl apply -f app.yaml && ./smoke-test'",
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 0 || len(args) == 0 {
				return &cluster.Error{Op: cmd.CommandPath(), Err: errors.New("want a command after --"), Hint: "for example 'kl run --nodes 2 -- make test'"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return run(cmd, e, f, args) },
	}
	f.add(cmd, e)
	cmd.Flags().StringVar(&f.artifacts, "artifacts", "", "if the command or the start fails, write logs and the cluster's state to `directory`/NAME")
	cmd.Flags().BoolVar(&f.keep, "keep", false, "if the command or the start fails, leave the cluster, and say how to get at it")
	mustRegister(cmd.MarkFlagDirname("artifacts"))
	return cmd
}

// readForRun is read for a cluster that lives as long as a command.
func (f *runFlags) readForRun(cmd *cobra.Command, e *env) error {
	f.fresh = true
	if err := f.read(cmd, e); err != nil {
		return err
	}
	switch {
	case f.ui:
		return misuse(cmd, errors.New("--ui needs the terminal, which is the command's: use 'kl up --ui'"))
	case f.Restart == host.RestartAlways:
		return misuse(cmd, errors.New("--restart always is for clusters that stay: use 'kl up'"))
	}
	if info, err := os.Stat(f.artifacts); err == nil && !info.IsDir() {
		return misuse(cmd, fmt.Errorf("--artifacts %q is not a directory", quotable(f.artifacts)))
	}
	f.spec.Ephemeral = true // nothing outlives the command
	f.keep = f.keep || f.Retain
	f.Retain = f.keep || f.artifacts != ""
	f.HowToKeep = "--artifacts DIRECTORY writes all logs there, --keep leaves the cluster"
	if f.Kubeconfig == "" {
		return nil
	}
	var err error
	f.Kubeconfig, err = filepath.Abs(f.Kubeconfig) // the command may be in another directory
	return wrap("find kubeconfig", err)
}

// runner runs one command with its cluster.
type runner struct {
	*env              // of the user, for its streams and home
	inner   *env      // the same in the cluster's home, all of whose output goes to the error stream
	flags   *runFlags //
	home    *ephemeral.Home
	program string         // kl
	signals chan os.Signal // those that nobody has acted on
}

func run(cmd *cobra.Command, e *env, f runFlags, args []string) error {
	name := ""
	if cmd.Flags().Changed("name") {
		name = e.name
	}
	if err := f.readForRun(cmd, e); err != nil {
		return err
	}
	program, err := ephemeral.Find(args[0])
	if err != nil {
		return e.notRunnable(err)
	}
	r := &runner{env: e, flags: &f, signals: make(chan os.Signal, 16)}
	if r.program, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	r.home, err = ephemeral.New(cmd.Context(), ephemeral.Options{Name: name, Program: r.program, Payloads: e.Home})
	if err != nil {
		return err
	}
	return r.run(cmd.Context(), program, args)
}

// notRunnable prints why a command cannot be run, and returns its exit code.
func (e *env) notRunnable(err error) error {
	var refused *ephemeral.NotRunnableError
	if !errors.As(err, &refused) {
		return err
	}
	report(e.Err, err)
	return exitError(refused.Code)
}

func (r *runner) run(ctx context.Context, program string, args []string) error {
	r.inner = newEnv(r.Elsewhere(r.home.Dir))
	r.inner.In, r.inner.Out, r.inner.Err, r.inner.name = r.In, r.Err, r.Err, r.home.Name
	r.inner.Getenv = func(key string) string {
		if key == "KUBECONFIG" {
			return r.home.Kubeconfig()
		}
		return r.Getenv(key)
	}
	r.flags.spec.Name = r.home.Name // not the file's, which may be used several times at once
	result, err := r.up(ctx)
	restore := r.takeSignals()
	defer restore()
	if err == nil && ctx.Err() != nil { // too late for up
		err = context.Cause(ctx)
	}
	if err != nil {
		err = r.explain(err)
	} else if code, cerr := r.command(ctx, result, program, args); cerr != nil || code != 0 {
		err = cmp.Or(cerr, error(exitError(code)))
	}
	end := r.end(ctx, err != nil)
	if err == nil || end == nil {
		return cmp.Or(err, end)
	}
	report(r.Err, end) // the exit code is that of what failed first
	return err
}

func (r *runner) up(ctx context.Context) (*host.Result, error) {
	progress := r.inner.progress(r.flags.output)
	result, err := r.flags.bringUp(ctx, r.inner.host(progress.Event))
	progress.Close()
	if err != nil {
		return nil, errors.Join(err, r.inner.printFailure(r.flags.output, err))
	}
	return result, r.flags.finish(ctx, r.inner, result, func(w io.Writer, up *host.Result) {
		fmt.Fprintf(w, "Cluster %s is up in %.1f s: Kubernetes %s, %s (%s).\n", up.Cluster, up.Seconds, up.Kubernetes, plural(up.Nodes, "node"), up.Driver)
	})
}

// takeSignals keeps signals from ending kl before the cluster is removed.
func (r *runner) takeSignals() (restore func()) {
	if r.Signals == nil {
		return func() {}
	}
	return r.Signals(func(s os.Signal) {
		select {
		case r.signals <- s:
		default: // nobody is that impatient
		}
	})
}

// command runs the command and returns its exit code.
func (r *runner) command(ctx context.Context, up *host.Result, program string, args []string) (int, error) {
	p, err := r.inner.Payload(ctx)
	if err != nil {
		return 0, err
	}
	if err := r.home.AddKubectl(p.Engine); err != nil {
		return 0, fmt.Errorf("make kubectl: %w", err)
	}
	r.shareImage(ctx, up.Driver, p)
	code, err := ephemeral.Command{
		Program: program, Args: args, Environ: r.home.Environ(r.flags.Kubeconfig),
		In: r.In, Out: r.Out, Err: r.Err, Signals: r.signals,
	}.Run()
	if err != nil {
		return 0, r.notRunnable(err)
	}
	return code, nil
}

// shareImage gives the user's home the node image that a container engine has now, so that the next run finds it there: the temporary
// home takes its own away. Without it, the next run imports the image again, and that is all.
func (r *runner) shareImage(ctx context.Context, driver cluster.DriverName, p cluster.Payload) {
	if driver == cluster.DriverSimulated || r.Home == "" {
		return
	}
	d, err := r.openDriver(ctx, driver)
	if err != nil {
		r.Logger.Warn("share node image", "err", err)
		return
	}
	defer d.Close()
	if preparer, ok := d.(cluster.Preparer); ok {
		if err := preparer.Prepare(ctx, r.home.Name, p); err != nil {
			r.Logger.Warn("share node image", "err", err)
		}
	}
}

// explain names the support bundle instead of a log that is about to be removed.
func (r *runner) explain(err error) error {
	var e *cluster.Error
	for inner := err; !r.flags.keep && errors.As(inner, &e) && e.Err != nil; inner = e.Err {
		if strings.Contains(e.Hint, string(r.home.Dir)) {
			e.Hint = "the whole log is in " + r.bundle()
		}
	}
	return err
}

// bundle is where the support bundle is written.
func (r *runner) bundle() string { return filepath.Join(r.flags.artifacts, r.home.Name) }

// end removes the cluster. After a failure it writes a support bundle first, or leaves the cluster, as the flags say.
func (r *runner) end(ctx context.Context, failed bool) error {
	_, statErr := os.Stat(r.inner.layout().Dir())
	there := statErr == nil
	if failed && there && r.flags.artifacts != "" {
		r.writeBundle(ctx)
	}
	if failed && there && r.flags.keep {
		return r.leave()
	}
	removed := make(chan error, 1)
	go func() { removed <- r.home.Remove() }() //nolint:contextcheck // it is removed even if ctx has ended
	for asked := false; ; asked = true {
		select {
		case err := <-removed:
			return r.notRemoved(err)
		case <-r.signals:
			if asked {
				return exitError(exitAborted)
			}
			fmt.Fprintf(r.Err, "kl: removing cluster %s; once more leaves that to a process in the background\n", r.home.Name)
		}
	}
}

// notRemoved says how to remove what could not be removed.
func (r *runner) notRemoved(err error) error {
	if err == nil {
		return nil
	}
	first, output, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return &cluster.Error{
		Op: "remove cluster " + r.home.Name, Err: errors.New(first), Hint: "try again with '" + r.removal() + "'", Log: strings.Split(output, "\n"),
	}
}

// removal is what removes a cluster that is left, and its home.
func (r *runner) removal() string {
	return fmt.Sprintf("KL_HOME=%s kl down --all && rm -r %s", r.home.Dir, r.home.Dir)
}

// writeBundle has this program write a support bundle. A failure is said, and keeps nothing from being removed.
func (r *runner) writeBundle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bundleTimeout)
	defer cancel()
	err := os.MkdirAll(r.flags.artifacts, 0o755)
	if err == nil {
		export := exec.CommandContext(ctx, r.program, "logs", "export", r.bundle(), "--name", r.home.Name)
		export.Cancel = func() error { return export.Process.Signal(os.Interrupt) }
		export.Env, export.WaitDelay = r.home.Environ(""), bundleDelay
		var out []byte
		if out, err = export.CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintf(r.Err, "kl: write support bundle %s: %v\n", printable(r.bundle()), err)
		return
	}
	fmt.Fprintf(r.Err, "Logs and state of cluster %s are in %s.\n", r.home.Name, printable(r.bundle()))
}

// leave leaves the cluster and says how to use and remove it.
func (r *runner) leave() error {
	if err := r.home.Keep(); err != nil {
		return err
	}
	dir, file := r.home.Dir, r.flags.Kubeconfig
	if file == "" {
		file = r.home.Kubeconfig()
	}
	fmt.Fprintf(r.Err, "Cluster %s is kept. To use it:\n  export KL_HOME=%s KL_CLUSTER=%s KUBECONFIG=%s\n", r.home.Name, dir, r.home.Name, file)
	fmt.Fprintf(r.Err, "To remove it:\n  %s\n", r.removal())
	return nil
}
