package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui"
)

// targetFlags select the cluster that a command looks at: a kl cluster, or any context of a kubeconfig.
type targetFlags struct {
	context, kubeconfig, namespace string
}

func (f *targetFlags) add(cmd *cobra.Command, namespace string) {
	f.addContext(cmd, "`context` of the kubeconfig to look at")
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "", namespace)
}

// addContext is add for commands that take no namespace; use says what the context is for.
func (f *targetFlags) addContext(cmd *cobra.Command, use string) {
	cmd.Flags().StringVar(&f.context, "context", "", use)
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file` to take the context from")
	mustRegister(cmd.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		targets, err := observe.Targets("", f.kubeconfig)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, t := range targets {
			names = append(names, t.Context)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}))
}

// target returns what the flags name; without them the kl cluster called e.name; and if there is none, and --name was not given
// (named), the only kl cluster or where the kubeconfig's current context leads.
func (f *targetFlags) target(e *env, named bool) (observe.Target, error) {
	targets, err := observe.Targets(e.Home, f.kubeconfig)
	if err != nil {
		return observe.Target{}, err
	}
	foreign := f.context != "" || f.kubeconfig != ""
	var ours, current []observe.Target
	for _, t := range targets {
		switch {
		case foreign && (t.HasContext(f.context) || f.context == "" && t.Current):
			return t, nil
		case !foreign && t.Layout != nil && t.Name == e.name:
			return t, nil
		}
		if t.Layout != nil {
			ours = append(ours, t)
		}
		if t.Current {
			current = append(current, t)
		}
	}
	switch {
	case foreign && f.context == "":
		return observe.Target{}, &cluster.Error{
			Op: "find context", Err: errors.New("the kubeconfig has no current context"), Hint: "select one with --context",
		}
	case foreign:
		return observe.Target{}, &cluster.Error{
			Op: "find context", Err: fmt.Errorf("the kubeconfig has no context %q", f.context), Hint: "see 'kubectl config get-contexts'",
		}
	case !named && len(ours) == 1:
		return ours[0], nil
	case !named && len(current) > 0:
		return current[0], nil
	}
	return observe.Target{}, &cluster.Error{
		Op: "find cluster", Err: fmt.Errorf("there is no cluster %s", e.name), Hint: "start it with 'kl up', or use --context",
	}
}

// options returns the options that all views share.
func (f *targetFlags) options(e *env, named bool) (ui.Options, error) {
	t, err := f.target(e, named)
	if err != nil {
		return ui.Options{}, err
	}
	return f.optionsFor(e, t, nil), nil
}

func (f *targetFlags) optionsFor(e *env, t observe.Target, news <-chan ui.News) ui.Options {
	return ui.Options{
		Target: t, Namespace: f.namespace, In: e.In, Out: e.Out, Logger: e.Logger, News: news,
		Targets:  func(context.Context) ([]observe.Target, error) { return observe.Targets(e.Home, f.kubeconfig) },
		NodeVerb: nodeVerb, NodeShell: nodeShellCmd, Kubectl: kubectlCmd,
	}
}

// nodeVerb runs `kl node VERB NODE` for the dashboard.
func nodeVerb(ctx context.Context, t observe.Target, node, verb string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("%s node %s: %w", verb, node, err)
	}
	out, err := exec.CommandContext(ctx, self, "--name", t.Name, "node", verb, node).CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s node %s: %s", verb, node, lines[0])
	}
	return nil
}

func nodeShellCmd(ctx context.Context, t observe.Target, node string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = "kl"
	}
	return exec.CommandContext(ctx, self, "--name", t.Name, "node", "shell", node)
}

// kubectlCmd returns the built-in kubectl for a kl cluster, and the machine's for another one.
func kubectlCmd(ctx context.Context, t observe.Target, args []string) (*exec.Cmd, error) {
	if t.Layout != nil {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("run kubectl: %w", err)
		}
		return exec.CommandContext(ctx, self, append([]string{"kubectl", "--name", t.Name}, args...)...), nil
	}
	argv, err := foreignKubectl(t)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, argv[0], append(argv[1:], args...)...), nil
}

// foreignKubectl is the machine's kubectl for a cluster that is not kl's, with the flags that lead there.
func foreignKubectl(t observe.Target) ([]string, error) {
	program, err := exec.LookPath("kubectl")
	if err != nil {
		return nil, errors.New("a cluster that is not kl's needs kubectl in PATH")
	}
	argv := []string{program, "--context", t.Context}
	if t.Kubeconfig != "" {
		argv = append(argv, "--kubeconfig", t.Kubeconfig)
	}
	return argv, nil
}

// uiFlags are the flags of kl ui.
type uiFlags struct {
	target   targetFlags
	only     bool
	screen   string
	snapshot string
	size     string
	output   string
	light    bool
	keys     []string
}

func newUICmd(e *env) *cobra.Command {
	var f uiFlags
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Open the dashboard: rollouts, policies, metrics, workloads",
		Long: "Open the dashboard of a cluster: rollouts and why they are stuck, which connections NetworkPolicies allow,\n" +
			"CPU and memory usage, and any resource with its YAML, logs and shell. It works with any cluster in a\n" +
			"kubeconfig; kl clusters show more. Press ? for the keys. With --snapshot it prints one frame and exits.",
		Example: "  kl ui\n  kl ui --context prod --screen rollouts\n  kl ui --snapshot overview --size 120x40 -o svg > overview.svg",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runUI(cmd.Context(), e, f, cmd.Flags().Changed("name"))
		},
	}
	f.target.add(cmd, "`namespace` to show first")
	cmd.Flags().BoolVar(&f.only, "only", false, "read only the namespace of --namespace, if you have no access to others")
	cmd.Flags().StringVar(&f.screen, "screen", "", "`screen` to show first: "+strings.Join(ui.Screens(), ", "))
	cmd.Flags().StringVar(&f.snapshot, "snapshot", "", "print one frame of this `screen` and exit")
	cmd.Flags().StringVar(&f.size, "size", "120x40", "`size` of the frame: columns x lines")
	cmd.Flags().StringVarP(&f.output, "output", "o", "ansi", "`format` of the frame: ansi, text or svg")
	cmd.Flags().BoolVar(&f.light, "light", false, "use colours for a light background in the frame")
	cmd.Flags().StringSliceVar(&f.keys, "keys", nil, "`keys` to press before the frame is drawn, such as enter,down,v")
	screens := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return ui.Screens(), cobra.ShellCompDirectiveNoFileComp
	}
	mustRegister(cmd.RegisterFlagCompletionFunc("screen", screens))
	mustRegister(cmd.RegisterFlagCompletionFunc("snapshot", screens))
	return cmd
}

// frame returns how --snapshot draws the frame.
func (f *uiFlags) frame() (ui.FrameOptions, error) {
	w, h, err := ui.ParseSize(f.size)
	if err != nil {
		return ui.FrameOptions{}, usageError{fmt.Errorf("--size: %w", err)}
	}
	format := ui.FrameFormat(f.output)
	if format != ui.FrameANSI && format != ui.FrameText && format != ui.FrameSVG {
		return ui.FrameOptions{}, usageError{fmt.Errorf("unknown format %q: use ansi, text or svg", f.output)}
	}
	return ui.FrameOptions{Width: w, Height: h, Format: format, Light: f.light, Keys: f.keys}, nil
}

func runUI(ctx context.Context, e *env, f uiFlags, named bool) error {
	screen := f.screen
	if f.snapshot != "" {
		screen = f.snapshot
	}
	if !ui.HasScreen(screen) {
		return usageError{fmt.Errorf("unknown screen %q: use %s", screen, strings.Join(ui.Screens(), ", "))}
	}
	frame, err := f.frame()
	if err != nil {
		return err
	}
	o, err := f.target.options(e, named)
	if err != nil {
		return err
	}
	o.Only, o.Screen = f.only, screen
	if f.snapshot != "" {
		return ui.Frame(ctx, o, frame)
	}
	if !isTerminal(e.In) || !isTerminal(e.Out) {
		return &cluster.Error{
			Op: "open the dashboard", Err: errors.New("standard input and output are not a terminal"), Hint: "use --snapshot SCREEN to print one frame",
		}
	}
	o.Logger = nil // while the dashboard has the terminal, nothing else writes to it
	return ui.Run(ctx, o)
}
