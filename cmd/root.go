package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
)

// Exit codes of kl.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitAborted = 130 // as a shell reports a command that Ctrl-C ended
)

// ErrInterrupted is the cause of a context that Ctrl-C ended.
var ErrInterrupted = errors.New("interrupted")

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError asks for an exit code without a message: what failed said it already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main runs a command line and returns its exit code. What went wrong is on e.Err by then.
func Main(ctx context.Context, e Env, args []string) int {
	root := newRootCmd(newEnv(e))
	root.SetArgs(args)
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	return report(e.Err, root.ExecuteContext(ctx))
}

// report prints an error for a person: a line, a line on what to do, and the log that tells more.
func report(w io.Writer, err error) int {
	var exit exitError
	var usage usageError
	var e *cluster.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	case errors.Is(err, ErrInterrupted): // not a failure that wants explaining
		fmt.Fprintf(w, "kl: %s\n", err)
		return exitAborted
	}
	fmt.Fprintf(w, "kl: %s\n", err)
	for inner := err; errors.As(inner, &e) && e.Hint == "" && len(e.Log) == 0 && e.Err != nil; {
		inner = e.Err // who failed first may know more
	}
	if e != nil {
		if e.Hint != "" {
			fmt.Fprintf(w, "    %s\n", e.Hint)
		}
		for _, line := range e.Log {
			fmt.Fprintf(w, "  | %s\n", line)
		}
	}
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func newRootCmd(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "kl",
		Short: "Kubernetes on one machine, in one file",
		Long: "kl runs a conformant, multi-node Kubernetes cluster on this machine, offline:\n" +
			"'kl up', and seconds later it answers.",
		Example:       "  kl up --nodes 2\n  kl kubectl get pods -A\n  kl down",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&e.name, "name", cluster.DefaultName, "name of the cluster")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return cluster.CheckName(e.name) }
	mustRegister(root.RegisterFlagCompletionFunc("name", e.completeClusters))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misuse(cmd, err) })
	root.AddCommand(
		newUpCmd(e), newDownCmd(e), newListCmd(e), newStatusCmd(e), newLogsCmd(e), newKubeconfigCmd(e),
		newKubectlCmd(e), newNodeCmd(e), newImageCmd(e), newVersionCmd(e),
		newUICmd(e), newWatchCmd(e), newTopCmd(e), newPolicyCmd(e),
		newStopCmd(e), newStartCmd(e), newPauseCmd(e), newResumeCmd(e), newConfigCmd(e), newDoctorCmd(e), newScaleCmd(e), newExposeCmd(e),
	)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	giveExamples(root)
	tidy(root)
	return root
}

// giveExamples adds what cobra's own commands lack.
func giveExamples(root *cobra.Command) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Example = "  kl help up"
		case "completion":
			c.Short = "Print the completion script of a shell"
			c.Example = "  source <(kl completion bash)"
			for _, shell := range c.Commands() {
				shell.Example = "  kl completion " + shell.Name()
			}
		}
	}
}

// tidy makes wrong arguments of every command below root usage errors, and says where the help is.
func tidy(root *cobra.Command) {
	for _, c := range root.Commands() {
		tidy(c)
	}
	check := root.Args
	if check == nil || root.DisableFlagParsing {
		return
	}
	root.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return misuse(cmd, err)
		}
		return nil
	}
}

func misuse(cmd *cobra.Command, err error) error {
	text := strings.SplitN(err.Error(), "\n", 2)[0]
	return usageError{&cluster.Error{Op: cmd.CommandPath(), Err: errors.New(text), Hint: "see '" + cmd.CommandPath() + " --help'"}}
}

// mustRegister: registering a completion fails only for a flag that does not exist.
func mustRegister(err error) {
	if err != nil {
		panic(err)
	}
}

// completeClusters offers the names of the clusters there are.
func (e *env) completeClusters(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, err := e.Home.Names()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
