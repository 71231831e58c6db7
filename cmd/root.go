package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

// Exit codes of kl.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitAborted = 130 // what a shell reports for a command ended by Ctrl-C
)

// ErrInterrupted is the cause of a context canceled by Ctrl-C.
var ErrInterrupted = errors.New("interrupted")

// usageError is an error in the command line; the exit code is then 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError sets the exit code without printing a message, because one has been printed already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main runs a command line and returns its exit code: 0, 1 if the command failed, 2 if the command line is wrong, 130
// after Ctrl-C, or the code of the command that ran in a node. It prints errors to e.Err.
func Main(ctx context.Context, e Env, args []string) int {
	root := newRootCmd(newEnv(e)) //nolint:contextcheck // ExecuteContext gives commands their context
	root.SetArgs(args)
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	return report(e.Err, root.ExecuteContext(ctx))
}

// report prints an error as one line, followed by the hint and the log lines that the error carries.
func report(w io.Writer, err error) int {
	var exit exitError
	var usage usageError
	var e *cluster.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	case errors.Is(err, ErrInterrupted): // the user knows why
		fmt.Fprintf(w, "kl: %s\n", printable(err.Error()))
		return exitAborted
	}
	fmt.Fprintf(w, "kl: %s\n", printable(err.Error()))
	for inner := err; errors.As(inner, &e) && e.Hint == "" && len(e.Log) == 0 && e.Err != nil; {
		inner = e.Err // the cause may carry the hint
	}
	if e != nil {
		if e.Hint != "" {
			fmt.Fprintf(w, "    %s\n", printable(e.Hint))
		}
		for _, line := range e.Log {
			fmt.Fprintf(w, "  | %s\n", printable(line))
		}
	}
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func newRootCmd(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:           "kl",
		Short:         "Kubernetes on one machine, in one file",
		Long:          "kl runs conformant, multi-node Kubernetes clusters on this machine, offline. 'kl up' starts one in seconds.",
		Example:       "  kl up --nodes 2\n  kl kubectl get pods -A\n  kl down",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&e.name, "name", e.name, "`name` of the cluster")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := cluster.CheckName(e.name); err != nil {
			return misuse(cmd, err)
		}
		return e.checkHome(cmd)
	}
	mustRegister(root.RegisterFlagCompletionFunc("name", e.completeClusters))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misuse(cmd, flagError(err)) })
	addGroup(root, "cluster", "Cluster Commands:", newUpCmd(e), newRunCmd(e), newDownCmd(e), newStopCmd(e), newStartCmd(e), newPauseCmd(e), newResumeCmd(e), newListCmd(e))
	addGroup(root, "node", "Node Commands:", newNodeCmd(e), newScaleCmd(e))
	addGroup(root, "image", "Image Commands:", newImageCmd(e), newBundleCmd(e), newDevCmd(e))
	addGroup(root, "traffic", "Traffic Commands:", newExposeCmd(e), newPolicyCmd(e))
	addGroup(root, "observe", "Monitoring and Troubleshooting Commands:",
		newStatusCmd(e), newLogsCmd(e), newAuditCmd(e), newCertsCmd(e), newUICmd(e), newTopCmd(e), newWatchCmd(e), newTourCmd(e),
		newCrictlCmd(e), newCRICmd(e), newDoctorCmd(e))
	addGroup(root, "settings", "Access and Settings Commands:", newKubectlCmd(e), newKubeconfigCmd(e), newConvertCmd(e), newSecretsCmd(e), newConfigCmd(e), newVersionCmd(e))
	addHabits(root, e)
	root.SetCompletionCommandGroupID("settings")
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	hideGroupUsage(root)
	addMissingHelp(root)
	wrapArgs(root)
	return root
}

// checkHome returns a usage error if the command cannot work with $KL_HOME. Some commands do not need it.
func (e *env) checkHome(cmd *cobra.Command) error {
	top := cmd
	for top.HasParent() && top.Parent().HasParent() {
		top = top.Parent()
	}
	if top.Hidden { // it runs another command
		return nil
	}
	make, l := false, e.layout()
	switch top.Name() {
	case "kl", "help", "completion", "version", "config", "doctor", "convert", "bundle":
		return nil
	case "run": // its home is another one
		return nil
	case "up", "start":
		make = true
	case "list", "status", "down": // they look at damaged clusters, and at those of other users, or remove them
		l.Name = ""
	}
	if err := host.CheckHome(l, make); err != nil {
		return usageError{err}
	}
	return nil
}

// addGroup adds commands to root that help lists together under title.
func addGroup(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// hideGroupUsage drops the line "kl node [flags]" from the usage of commands that only hold others: they can be run, to
// reject an unknown subcommand, but take no flags of their own. A usage template would say so in one line, but templates
// find methods by name, so the linker could drop none: kl would grow by 22 MB.
func hideGroupUsage(root *cobra.Command) {
	usage := root.UsageFunc()
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		out := cmd.OutOrStderr()
		var text bytes.Buffer
		cmd.SetOut(&text)
		defer cmd.SetOut(out)
		if err := usage(cmd); err != nil {
			return err
		}
		shown := text.String()
		if cmd.HasAvailableSubCommands() && cmd.Use == cmd.Name() { // kl logs does something itself
			shown = strings.Replace(shown, "\n  "+cmd.UseLine()+"\n", "\n", 1)
		}
		_, err := io.WriteString(out, shown)
		return err
	})
}

// addMissingHelp completes the help of the commands that cobra adds itself.
func addMissingHelp(root *cobra.Command) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short, c.Long = "Show the help of a command", "Show the help of a command, as COMMAND --help does."
			c.Example = "  kl help up\n  kl help node add"
		case "completion":
			c.Short, c.Long = "Print a completion script for your shell",
				"Print a completion script for your shell. 'kl completion SHELL --help' says how to load it."
			c.Example = "  source <(kl completion bash)"
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range c.Commands() {
				shell.Example = "  kl completion " + shell.Name()
				if shell.Name() == "bash" {
					completeWithoutPackage(root, shell)
				}
			}
		}
	}
}

// wrapArgs makes the argument checks of root and all commands below it return usage errors that point to the help.
func wrapArgs(root *cobra.Command) {
	for _, c := range root.Commands() {
		wrapArgs(c)
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

// misuse returns a usage error of one line, with a hint to the command's help if err has none.
func misuse(cmd *cobra.Command, err error) error {
	var hinted *cluster.Error
	if errors.As(err, &hinted) && hinted.Hint != "" {
		return usageError{err}
	}
	text := strings.SplitN(err.Error(), "\n", 2)[0]
	return usageError{&cluster.Error{Op: cmd.CommandPath(), Err: errors.New(text), Hint: "see '" + cmd.CommandPath() + " --help'"}}
}

// exclusive returns a usage error if more than one of the flags is set.
func exclusive(cmd *cobra.Command, flags ...string) error {
	var set []string
	for _, f := range flags {
		if cmd.Flags().Changed(f) {
			set = append(set, "--"+f)
		}
	}
	if len(set) < 2 {
		return nil
	}
	return misuse(cmd, fmt.Errorf("%s cannot be used together", strings.Join(set, " and ")))
}

// mustRegister panics on an error from registering a completion, which means that the flag does not exist.
func mustRegister(err error) {
	if err != nil {
		panic(err)
	}
}

// completeClusters completes names of existing clusters.
func (e *env) completeClusters(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, err := e.Home.Names()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
