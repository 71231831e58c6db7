package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/cluster/statefile"
	"github.com/klkube/kl/cluster/tour"
	scenarios "github.com/klkube/kl/testdata/tour"
)

func newTourCmd(e *env) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "tour",
		Short: "Show what Kubernetes can do, on your own cluster",
		Long: "Run scenarios that show what Kubernetes can do: each prints what is done and the commands for it, checks what is\n" +
			"observed, and cleans up. Without a subcommand, list the scenarios.",
		Example: "  kl tour\n  kl tour run network-policy\n  kl tour run all -o json",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return listTour(e, out) },
	}
	addOutput(cmd, &out)
	cmd.AddCommand(newTourRunCmd(e), newTourShowCmd(e), newTourImageCmd(e))
	return cmd
}

func newTourShowCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:               "show SCENARIO",
		Short:             "Print the files of a scenario",
		Long:              "Print the files of a scenario: its steps and what it expects, and the manifests it applies.",
		Example:           "  kl tour show network-policy",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			chosen, err := chooseScenarios(cmd, args)
			if err != nil {
				return err
			}
			return showTour(e, chosen[0])
		},
	}
}

func newTourImageCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "image",
		Short: "Write the image that scenarios need on a cluster that is not kl's",
		Long: "Write a docker-archive with the image " + tour.Image + ", which has the programs of the scenarios, to standard output.\n" +
			"A cluster that is not kl's needs it: load it there, and give its name to 'kl tour run --image'.",
		Example: "  kl tour image | docker load\n  kl tour image > tour.tar && kind load image-archive tour.tar\n" +
			"  kl tour run all --context kind-kind --image " + tour.Image,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if isTerminal(e.Out) {
				return misuse(cmd, errors.New("standard output is a terminal: write to a file, or into 'docker load'"))
			}
			p, err := e.Payload(cmd.Context())
			if err != nil {
				return err
			}
			program, err := statefile.Open(p.Engine)
			if err != nil {
				return wrap("read kl-engine", err)
			}
			defer program.Close()
			return wrap("write image "+tour.Image, tour.WriteImage(e.Out, program))
		},
	}
}

// tourFlags are the flags of kl tour run.
type tourFlags struct {
	target   targetFlags
	keep     bool
	pace     bool
	parallel int
	image    string
	output   tourOutput
}

// tourOutput is the value of its -o flag: empty for text, json or junit.
type tourOutput string

func (o *tourOutput) String() string { return string(*o) }

// Set implements pflag.Value.
func (o *tourOutput) Set(s string) error {
	switch s {
	case "text":
		s = ""
	case "json", "junit":
	default:
		return errors.New("use text, json or junit")
	}
	*o = tourOutput(s)
	return nil
}

// Type implements pflag.Value.
func (o *tourOutput) Type() string { return "format" }

func newTourRunCmd(e *env) *cobra.Command {
	f := tourFlags{parallel: 1}
	cmd := &cobra.Command{
		Use:   "run SCENARIO…|all",
		Short: "Run scenarios on the cluster",
		Long: "Run scenarios on the cluster, each in namespaces of its own, which are removed afterwards. A scenario is one of\n" +
			"those that 'kl tour' lists, or a directory of your own with a scenario.yaml. If the cluster lacks what one\n" +
			"needs, it is skipped, and what is missing is said. The exit status is 1 if a check did not hold.",
		Example: "  kl tour run network-policy statefulset-rollout\n  kl tour run all --parallel 4 -o junit > tour.xml\n  kl tour run crd --keep --pace",
		Args:    cobra.MinimumNArgs(1), ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			chosen, err := chooseScenarios(cmd, args)
			if err != nil {
				return err
			}
			if f.parallel < 1 || f.parallel > 32 {
				return misuse(cmd, fmt.Errorf("--parallel %d: use a number from 1 to 32", f.parallel))
			}
			if f.pace && (f.output != "" || f.parallel > 1 || !isTerminal(e.In)) {
				return misuse(cmd, errors.New("--pace waits for a key: it needs a terminal, and neither --parallel nor -o"))
			}
			return runTour(cmd.Context(), e, f, chosen, cmd.Flags().Changed("name"))
		},
	}
	f.target.addContext(cmd, "`context` of the kubeconfig to run on")
	cmd.Flags().BoolVar(&f.keep, "keep", false, "leave namespaces and files in place")
	cmd.Flags().BoolVar(&f.pace, "pace", false, "wait for Enter before each command")
	cmd.Flags().IntVar(&f.parallel, "parallel", f.parallel, "run this `number` of scenarios side by side")
	cmd.Flags().StringVar(&f.image, "image", "", "`image` with kl-engine for pods, on a cluster that is not kl's")
	cmd.Flags().VarP(&f.output, "output", "o", "output `format`: text, json or junit (default text)")
	mustRegister(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json", "junit"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func completeScenarios(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, err := tour.LoadAll(scenarios.Files)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return append(tour.Names(all), "all"), cobra.ShellCompDirectiveDefault
}

// chooseScenarios returns the scenarios that arguments name, each once, in the order of the arguments.
func chooseScenarios(cmd *cobra.Command, args []string) ([]*tour.Scenario, error) {
	all, err := tour.LoadAll(scenarios.Files)
	if err != nil {
		return nil, err
	}
	var chosen []*tour.Scenario
	add := func(s *tour.Scenario) {
		if !slices.ContainsFunc(chosen, func(c *tour.Scenario) bool { return c.Name == s.Name }) {
			chosen = append(chosen, s)
		}
	}
	for _, arg := range args {
		i := slices.IndexFunc(all, func(s *tour.Scenario) bool { return s.Name == arg })
		switch {
		case i >= 0:
			add(all[i])
		case arg == "all" && cmd.Name() == "run":
			for _, s := range all {
				add(s)
			}
		case strings.ContainsRune(arg, filepath.Separator):
			s, err := tour.Load(os.DirFS(arg), filepath.Base(filepath.Clean(arg)))
			if err != nil {
				return nil, usageError{err}
			}
			add(s)
		default:
			return nil, misuse(cmd, &cluster.Error{
				Op: cmd.CommandPath(), Err: fmt.Errorf("there is no scenario %q", arg), Hint: "'kl tour' lists them",
			})
		}
	}
	return chosen, nil
}

func listTour(e *env, out output) error {
	all, err := tour.LoadAll(scenarios.Files)
	if err != nil {
		return err
	}
	if out.isJSON() {
		type entry struct {
			Name    string `json:"name"`
			Title   string `json:"title"`
			Feature string `json:"feature"`
		}
		entries := []entry{}
		for _, s := range all {
			entries = append(entries, entry{s.Name, s.Title, s.Feature})
		}
		return printJSON(e.Out, entries)
	}
	for _, s := range all {
		fmt.Fprintf(e.Out, "%-22s %s\n    %s.\n", s.Name, s.Feature, s.Title)
	}
	fmt.Fprintln(e.Out, "\n'kl tour run SCENARIO' runs one, 'kl tour run all' all of them.")
	return nil
}

func showTour(e *env, s *tour.Scenario) error {
	return s.EachFile(func(file, text string) error {
		_, err := fmt.Fprintf(e.Out, "# ---- %s\n%s\n", file, strings.TrimRight(text, "\n"))
		return err
	})
}

func runTour(ctx context.Context, e *env, f tourFlags, chosen []*tour.Scenario, named bool) error {
	t, err := f.target.target(e, named)
	if err != nil {
		return err
	}
	target, err := tourTarget(e, t, f.image)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kl-tour-")
	if err != nil {
		return fmt.Errorf("make a directory for the scenarios' files: %w", err)
	}
	if !f.keep {
		defer os.RemoveAll(dir) //nolint:errcheck // temporary files
	}
	r := &tour.Runner{Target: target, Dir: dir, Keep: f.keep, Parallel: f.parallel}
	report, err := f.show(ctx, e, r, chosen)
	if report != nil {
		if err := f.print(e, report); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return err
	case report.Failed > 0 || len(report.Residue) > 0:
		return exitError(exitFailed)
	}
	return nil
}

// tourTarget returns the cluster that scenarios run on.
func tourTarget(e *env, t observe.Target, image string) (tour.Target, error) {
	target := tour.Target{Name: t.Name, Programs: tour.NodePrograms()}
	if image != "" {
		target.Programs = tour.ImagePrograms(image)
	}
	if t.Layout == nil {
		argv, err := foreignKubectl(t)
		if err != nil {
			return target, err
		}
		target.Kubectl = argv
		if image == "" {
			target.Programs = tour.Programs{}
		}
		return target, nil
	}
	spec, err := cluster.ReadSpec(*t.Layout)
	if err != nil {
		return target, err
	}
	named := &env{Env: e.Env, name: t.Name}
	if err := named.checkAPI(nil); err != nil {
		return target, err
	}
	self, err := os.Executable()
	if err != nil {
		return target, fmt.Errorf("find kl: %w", err)
	}
	target.Kubectl, target.Kl = []string{self, "kubectl", "--name", t.Name}, []string{self, "--name", t.Name}
	target.Policies = spec.Enabled(cluster.FeatureNetworkPolicy)
	target.LoadBalancers = spec.Enabled(cluster.FeatureLoadBalancer)
	return target, nil
}
