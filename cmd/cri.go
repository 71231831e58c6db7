package cmd

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster/cricheck"
	"github.com/klkube/kl/cluster/host"
)

func newCRICmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cri",
		Short:   "Check that a node's container runtime is what Kubernetes expects",
		Example: "  kl cri check\n  kl cri check n2 -o junit",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCRICheckCmd(e))
	return cmd
}

func newCRICheckCmd(e *env) *cobra.Command {
	var o host.CheckOptions
	var format string
	cmd := &cobra.Command{
		Use:   "check [NODE]",
		Short: "Run the CRI validation suite against a node's container runtime",
		Long: "Run the CRI validation suite of upstream's cri-tools against the container runtime of a node, by default the\n" +
			"first one. The kubelet would end pods that it does not know, so the suite gets a containerd of its own in the\n" +
			"node: the same programs, the same configuration and the same pod network, with directories that are removed\n" +
			"afterwards. Its images are made in the node, and nothing is pulled. Specs that cannot be run there are\n" +
			"skipped, with the reason. The exit code is 1 if a spec fails. It takes some minutes.",
		Example: "  kl cri check\n  kl cri check n2 --focus Streaming --focus 'Security Context'\n  kl cri check -o junit > cri.xml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkCRIFlags(o, format); err != nil {
				return misuse(cmd, err)
			}
			return criCheck(cmd.Context(), e, strings.Join(args, ""), o, format)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return e.completeNodes(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.Focus, "focus", nil, "run the specs whose names match this `regexp` alone; repeatable")
	f.StringArrayVar(&o.Skip, "skip", nil, "leave out the specs whose names match this `regexp`; repeatable")
	f.StringVarP(&format, "output", "o", "text", "output `format`: text, json or junit")
	mustRegister(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json", "junit"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func checkCRIFlags(o host.CheckOptions, format string) error {
	for name, all := range map[string][]string{"--focus": o.Focus, "--skip": o.Skip} {
		for _, r := range all {
			if _, err := regexp.Compile(r); err != nil {
				return fmt.Errorf("%s %q is not a regular expression: %w", name, r, err)
			}
		}
	}
	if format != "text" && format != "json" && format != "junit" {
		return fmt.Errorf("unknown format %q: use text, json or junit", format)
	}
	return nil
}

func criCheck(ctx context.Context, e *env, node string, o host.CheckOptions, format string) error {
	progress := func(cricheck.Spec) {}
	if format == "text" {
		progress = func(s cricheck.Spec) { printCRISpec(e.Out, s) }
	}
	r, err := e.host(nil).CheckRuntime(ctx, e.name, node, o, progress)
	if err != nil {
		return err
	}
	switch format {
	case "json":
		err = printJSON(e.Out, r)
	case "junit":
		err = r.WriteJUnit(e.Out)
	default:
		fmt.Fprintf(e.Out, "%s: %d passed, %d failed, %d skipped in %.0f s\n", r.Node, r.Passed, r.Failed, r.Skipped, r.Seconds)
	}
	if err == nil && r.Failed > 0 {
		return exitError(exitFailed)
	}
	return err
}

func printCRISpec(w io.Writer, s cricheck.Spec) {
	switch s.Outcome {
	case cricheck.Passed:
		fmt.Fprintf(w, "ok      %s (%.1f s)\n", s.Name, s.Seconds)
	case cricheck.Skipped:
		fmt.Fprintf(w, "skipped %s: %s\n", s.Name, s.Reason)
	default:
		fmt.Fprintf(w, "FAILED  %s (%.1f s)\n        %s\n", s.Name, s.Seconds, strings.ReplaceAll(s.Reason, "\n", "\n        "))
	}
}
