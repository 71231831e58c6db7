package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/ui"
)

// upFlags are the flags of kl up.
type upFlags struct {
	host.UpOptions
	spec   cluster.Spec
	file   string
	data   []byte // of file
	nodes  int
	sims   int
	wait   bool
	ui     bool
	bundle []string
	output output
	fresh  bool // there is no such cluster yet

	timeline timelineFlag
}

func newUpCmd(e *env) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Create or start the cluster and wait until it is ready",
		Long: "Create the cluster, or start it if it exists, and wait until it is ready: the API answers, every node is Ready,\n" +
			"cluster DNS answers and the default ServiceAccount exists. An existing cluster keeps its data; up adds and starts\n" +
			"what is missing. The cluster is added to your kubeconfig as context kl-<name>. If up fails, it removes what it\n" +
			"created. Images of a --bundle are loaded into the nodes that are there; those that are added later have them, too.",
		Example: "  # the cluster kl, with one node\n  kl up\n\n  # another cluster, with three nodes\n  kl up --name big --nodes 3\n\n" +
			"  # create a cluster from a file, or change it to match the file\n  kl up -f kl.yaml\n\n" +
			"  # a control plane with a thousand simulated nodes, without a container engine or root\n" +
			"  kl up --name api --nodes 0 --simulated 1000\n\n  # open the dashboard while the cluster starts\n  kl up --ui\n\n" +
			"  # with images from a file, on a machine without a network\n  kl up --bundle b.tar.zst\n\n  # for CI: JSON events, and no syncing to disk\n  kl up --ephemeral -o json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.read(cmd, e); err != nil {
				return err
			}
			return up(cmd.Context(), e, f)
		},
	}
	f.add(cmd, e)
	return cmd
}

// add adds the flags to a command.
func (f *upFlags) add(cmd *cobra.Command, e *env) {
	drivers := append(e.driverNames(), cluster.DriverSimulated)
	flags := cmd.Flags()
	flags.IntVar(&f.nodes, "nodes", 1, "how many `nodes` to run")
	flags.StringVarP(&f.file, "file", "f", "", "configuration `file`, see 'kl config schema'; flags override it")
	flags.IntVar(&f.sims, "simulated", 0, "how many simulated `nodes` to add; pods on them run nothing")
	flags.StringVar((*string)(&f.spec.Driver), "driver", string(cluster.DriverAuto), "`driver` that runs the nodes: auto, "+joinNames(drivers))
	flags.BoolVar(&f.wait, "wait", true, "wait for nodes and DNS, not only for the API")
	flags.StringArrayVar(&f.bundle, "bundle", nil, "load the images of this `file` into all nodes, see 'kl bundle'; may be given more than once")
	flags.BoolVar(&f.ui, "ui", false, "open the dashboard as soon as the API answers")
	flags.Var(&f.timeline, "timeline", "then draw what the start consisted of: every step, and what it waited for; with =FILE.svg also as a picture")
	flags.Lookup("timeline").NoOptDefVal = timelineText
	flags.DurationVar(&f.Timeout, "timeout", host.DefaultTimeout, "give up after this `time`")
	flags.BoolVar(&f.Retain, "retain", false, "if up fails, keep what it created, for debugging")
	flags.BoolVar(&f.spec.Ephemeral, "ephemeral", false, "do not sync etcd to disk: faster, but a power failure loses data")
	flags.BoolVar(&f.DeleteVolumes, "delete-volumes", false, "with -f, remove nodes although claims have their data there")
	flags.StringVar(&f.Kubeconfig, "kubeconfig", "", "kubeconfig `file` to merge the cluster into (default $KUBECONFIG or ~/.kube/config)")
	flags.StringVar(&f.Restart, "restart", "", "`when` to start the cluster at boot: always or no; by default unchanged, and no for a new cluster")
	addOutput(cmd, &f.output)
	mustRegister(cmd.RegisterFlagCompletionFunc("restart",
		cobra.FixedCompletions([]string{host.RestartAlways, host.RestartNo}, cobra.ShellCompDirectiveNoFileComp)))
	mustRegister(cmd.RegisterFlagCompletionFunc("driver",
		cobra.FixedCompletions(append([]cobra.Completion{string(cluster.DriverAuto)}, names(drivers)...), cobra.ShellCompDirectiveNoFileComp)))
}

// read sets the spec from the file, if there is one, and from the flags, which override it.
func (f *upFlags) read(cmd *cobra.Command, e *env) error {
	changed := cmd.Flags().Changed
	f.NoWait = !f.wait
	for name, n := range map[string]int{"nodes": f.nodes, "simulated": f.sims} {
		if n < 0 {
			return misuse(cmd, fmt.Errorf("--%s must not be negative", name))
		}
	}
	if changed("restart") && f.Restart != host.RestartAlways && f.Restart != host.RestartNo {
		return misuse(cmd, fmt.Errorf("--restart is %q: use %s or %s", f.Restart, host.RestartAlways, host.RestartNo))
	}
	for _, b := range f.bundle {
		if !f.wait {
			return misuse(cmd, errors.New("--bundle and --wait=false cannot be used together: images are loaded when the nodes are ready"))
		}
		f.Bundles = append(f.Bundles, images.Archive{Path: b, From: "bundle " + filepath.Base(b)})
	}
	if err := f.timeline.check(); err != nil {
		return misuse(cmd, err)
	}
	flags := f.spec
	if f.file != "" {
		spec, data, err := e.readConfig(f.file)
		if err != nil {
			return err
		}
		f.spec, f.data = spec, data
		f.spec.Ephemeral = spec.Ephemeral || flags.Ephemeral
		if changed("driver") {
			f.spec.Driver = flags.Driver
		}
		if !changed("name") {
			e.name = spec.Name
		}
	}
	f.spec.Name = e.name
	switch {
	case changed("nodes") && f.file != "":
		return misuse(cmd, errors.New("--nodes and --file cannot be used together: set the count in the file"))
	case changed("nodes"):
		f.spec.Nodes = []cluster.NodeGroup{{Count: f.nodes}}
	case f.sims > 0 && f.file == "":
		if _, err := cluster.ReadSpec(e.layout()); f.fresh || err != nil { // a new cluster has one real node, too
			f.spec.Nodes = []cluster.NodeGroup{{Count: 1}}
		}
	}
	if f.sims > 0 {
		f.spec.Nodes = append(f.spec.Nodes, cluster.NodeGroup{Count: f.sims, Simulated: true})
	}
	return nil
}

func names(drivers []cluster.DriverName) []string {
	out := make([]string, len(drivers))
	for i, d := range drivers {
		out[i] = string(d)
	}
	return out
}

// joinNames lists drivers in a message.
func joinNames(drivers []cluster.DriverName) string {
	if len(drivers) == 0 {
		return "none"
	}
	return strings.Join(names(drivers), ", ")
}

func up(ctx context.Context, e *env, f upFlags) error {
	if f.ui {
		return upUI(ctx, e, f)
	}
	progress := e.progress(f.output)
	result, err := f.bringUp(ctx, e.host(progress.Event))
	progress.Close()
	if err != nil {
		return errors.Join(err, e.printFailure(f.output, err))
	}
	return f.finish(ctx, e, result, printResult)
}

// bringUp changes the cluster to match the file or, without a file, adds and starts what the flags ask for.
func (f *upFlags) bringUp(ctx context.Context, h *host.Host) (*host.Result, error) {
	if f.file == "" {
		return h.Up(ctx, f.spec, f.UpOptions)
	}
	result, err := h.Apply(ctx, f.spec, f.UpOptions)
	if refused := (config.Problems)(nil); errors.As(err, &refused) {
		err = usageError{refused.Locate(f.file, f.data)}
	}
	return result, err
}

// progress shows events as text on the error stream or, with -o json, as JSON on the output.
func (e *env) progress(o output) *ui.Progress {
	switch {
	case o.isJSON():
		return ui.NewProgress(e.Out, ui.ProgressJSON)
	case isTerminal(e.Err) && e.Getenv("TERM") != "dumb":
		return ui.NewProgress(e.Err, ui.ProgressChecklist)
	}
	return ui.NewProgress(e.Err, ui.ProgressLines)
}

// printResult prints the result of kl up or kl start.
func (e *env) printResult(o output, r *host.Result) error {
	if o.isJSON() {
		return json.NewEncoder(e.Out).Encode(map[string]any{"result": r})
	}
	printResult(e.Out, r)
	return nil
}

// printFailure prints, with -o json, the result of a command that fails: programs read the last object, whatever it says.
func (e *env) printFailure(o output, err error) error {
	if !o.isJSON() {
		return nil
	}
	result := map[string]any{"cluster": e.name, "error": err.Error()}
	if hinted := (*cluster.Error)(nil); errors.As(err, &hinted) {
		result["hint"], result["log"] = hinted.Hint, hinted.Log
	}
	return json.NewEncoder(e.Out).Encode(map[string]any{"result": result})
}

// printResult prints that the cluster is up, which steps took longest, and commands to try next.
func printResult(w io.Writer, r *host.Result) {
	if r.Running {
		fmt.Fprintf(w, "Cluster %s is already running: Kubernetes %s, %s.\n", r.Cluster, r.Kubernetes, plural(r.Nodes, "node"))
	} else {
		fmt.Fprintf(w, "\nCluster %s is up in %.1f s: Kubernetes %s, %s (%s).\n",
			r.Cluster, r.Seconds, r.Kubernetes, plural(r.Nodes, "node"), r.Driver)
		fmt.Fprintf(w, "  %s\n", longestSteps(r))
	}
	name := ""
	if r.Cluster != cluster.DefaultName {
		name = " --name " + r.Cluster
	}
	fmt.Fprint(w, "\nNext:\n")
	if r.Kubeconfig != "" {
		fmt.Fprintf(w, "  kubectl --context %s get nodes\n", r.Context)
	}
	fmt.Fprintf(w, "  kl kubectl%s get pods -A\n  kl down%s\n", name, name)
}

// longestSteps names the components and steps that took longest.
func longestSteps(r *host.Result) string {
	type part struct {
		name    string
		seconds float64
	}
	var parts []part
	for _, s := range r.Steps {
		if s.Name != cluster.StepControlPlane {
			parts = append(parts, part{s.Name, s.Seconds})
			continue
		}
		for _, c := range r.Status.Components { // this up started them
			if c.Ready > c.Began {
				parts = append(parts, part{string(c.Name), c.Ready - c.Began})
			}
		}
	}
	sort.SliceStable(parts, func(i, j int) bool { return parts[i].seconds > parts[j].seconds })
	text := "longest steps (in parallel):"
	for i, p := range parts[:min(len(parts), 5)] {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(" %s %.1f s", p.name, p.seconds)
	}
	return text
}

// plural formats a number of things.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
