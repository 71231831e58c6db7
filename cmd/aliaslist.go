package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// What kl has no equal of, in more than one habit.
const (
	oneVersion  = "a kl has one version of Kubernetes, see 'kl version'"
	allNodes    = "images are loaded into all nodes"
	publish     = "ports of nodes are published by kl.yaml, see 'kl config schema', and load balancers by 'kl expose'"
	oneReadable = "the kubeconfig is for this machine; from a container, see README.md"
)

// habits are the commands that kl has under another name.
func (e *env) habits() []habit {
	return slices.Concat(kindHabits(), kindTransfers(), minikubeHabits(), k3dHabits())
}

func kindHabits() []habit {
	return []habit{
		{
			path: "create cluster", kl: "up", example: "--name dev --wait 5m", lacks: map[string]string{"image": oneVersion},
			define: func(c *cobra.Command) {
				c.Flags().String("config", "", "configuration `file`, a kl.yaml")
				c.Flags().Duration("wait", 0, "the same as --timeout of kl up: kl always waits")
				c.Flags().Bool("retain", false, "if it fails, keep what it created, for debugging")
				c.Flags().String("kubeconfig", "", "kubeconfig `file` to merge the cluster into")
				c.Flags().String("image", "", "not in kl: "+oneVersion)
			},
			run: func(_ *env, cmd *cobra.Command, _ []string) ([]string, error) {
				rest := given(cmd, map[string]string{"config": "--file", "retain": "--retain", "kubeconfig": "--kubeconfig"})
				if wait, err := cmd.Flags().GetDuration("wait"); err == nil && wait > 0 {
					rest = append(rest, "--timeout="+wait.String())
				}
				return rest, nil
			},
		},
		{path: "delete cluster", kl: "down", example: "--name dev", define: ignoredKubeconfig},
		{
			path: "delete clusters", kl: "down", args: "[NAME…]", example: "--all", check: cobra.ArbitraryArgs, named: true,
			define: func(c *cobra.Command) {
				ignoredKubeconfig(c)
				c.Flags().BoolP("all", "A", false, "all clusters")
			},
			run: func(_ *env, cmd *cobra.Command, args []string) ([]string, error) {
				return given(cmd, map[string]string{"all": "--all"}), nil
			},
		},
		{path: "get clusters", kl: "list"},
		{
			path: "get nodes", kl: "node list", example: "--name dev", lacks: map[string]string{"all-clusters": "'kl list' shows all clusters"},
			define: func(c *cobra.Command) {
				c.Flags().BoolP("all-clusters", "A", false, "not in kl: 'kl list' shows all clusters")
			},
		},
		{
			path: "get kubeconfig", kl: "kubeconfig", lacks: map[string]string{"internal": oneReadable},
			define: func(c *cobra.Command) { c.Flags().Bool("internal", false, "not in kl: "+oneReadable) },
		},
	}
}

// kindTransfers are those of kind that move something in or out.
func kindTransfers() []habit {
	return []habit{
		{
			path: "load docker-image", kl: "image load", args: "IMAGE…", example: "app:dev", check: cobra.MinimumNArgs(1),
			lacks: map[string]string{"nodes": allNodes}, define: noNodes,
		},
		{
			path: "load image-archive", kl: "image load", args: "FILE…", example: "app.tar", check: cobra.MinimumNArgs(1),
			lacks: map[string]string{"nodes": allNodes}, define: noNodes,
		},
		{path: "export logs", kl: "logs export", args: "[DIRECTORY]", example: "logs", check: cobra.MaximumNArgs(1)},
		{
			path: "export kubeconfig", kl: "kubeconfig --merge", lacks: map[string]string{"internal": oneReadable},
			define: func(c *cobra.Command) {
				c.Flags().Bool("internal", false, "not in kl: "+oneReadable)
				c.Flags().String("kubeconfig", "", "kubeconfig `file` to merge the cluster into")
			},
			run: func(e *env, cmd *cobra.Command, _ []string) ([]string, error) {
				file, err := cmd.Flags().GetString("kubeconfig")
				if getenv := e.Getenv; file != "" {
					e.Getenv = func(key string) string {
						if key == "KUBECONFIG" {
							return file
						}
						return getenv(key)
					}
				}
				return nil, err
			},
		},
	}
}

func minikubeHabits() []habit {
	return []habit{
		{
			path: "dashboard", kl: "ui", lacks: map[string]string{"url": "the dashboard is in this terminal", "port": "the dashboard is in this terminal"},
			define: func(c *cobra.Command) {
				c.Flags().Bool("url", false, "not in kl")
				c.Flags().Int("port", 0, "not in kl")
			},
		},
		{
			path: "tunnel", kl: "kubectl get services", do: tunnel,
			define: func(c *cobra.Command) { c.Flags().Bool("cleanup", false, "nothing to do in kl") },
		},
		{
			path: "ssh", kl: "node shell", args: "[NODE] [-- COMMAND…]", example: "n1 -- ip route",
			check: func(cmd *cobra.Command, args []string) error {
				if dash := cmd.ArgsLenAtDash(); dash > 1 || dash < 0 && len(args) > 1 {
					return errors.New("want one node at most, and a command only after --")
				}
				return nil
			},
			define: func(c *cobra.Command) { c.Flags().StringP("node", "n", "", "the `node`") },
			run: func(e *env, cmd *cobra.Command, args []string) ([]string, error) {
				command, dash := args, cmd.ArgsLenAtDash()
				node, err := cmd.Flags().GetString("node")
				if node == "" && dash != 0 && len(args) > 0 {
					node, command = args[0], args[1:]
				}
				if err == nil && node == "" {
					node, err = e.firstNode(cmd.Context())
				}
				if len(command) == 0 {
					return []string{node}, err
				}
				return append([]string{node, "--"}, command...), err
			},
		},
		{
			path: "delete", kl: "down",
			define: func(c *cobra.Command) {
				c.Flags().Bool("all", false, "all clusters")
				c.Flags().Bool("purge", false, "nothing more to do in kl")
			},
			run: func(_ *env, cmd *cobra.Command, _ []string) ([]string, error) {
				return given(cmd, map[string]string{"all": "--all"}), nil
			},
		},
		{
			path: "profile list", kl: "list", example: "-o json",
			define: func(c *cobra.Command) { c.Flags().StringP("output", "o", "", "output `format`: text or json") },
			run: func(_ *env, cmd *cobra.Command, _ []string) ([]string, error) {
				return given(cmd, map[string]string{"output": "--output"}), nil
			},
		},
	}
}

func k3dHabits() []habit {
	all := func(c *cobra.Command) { c.Flags().BoolP("all", "a", false, "all clusters") }
	return []habit{
		{
			path: "cluster create", kl: "up", args: "[NAME]", example: "dev --agents 2", check: cobra.MaximumNArgs(1), named: true,
			lacks: map[string]string{"image": oneVersion, "port": publish, "servers": "the control plane is one process and no node"},
			define: func(c *cobra.Command) {
				c.Flags().IntP("agents", "a", 0, "how many `nodes` to run beside the first one")
				c.Flags().IntP("servers", "s", 1, "not in kl: the control plane is one process and no node")
				c.Flags().StringP("config", "c", "", "configuration `file`, a kl.yaml")
				c.Flags().Duration("timeout", 0, "give up after this `time`")
				c.Flags().Bool("wait", true, "wait for nodes and DNS, not only for the API")
				c.Flags().StringP("image", "i", "", "not in kl: "+oneVersion)
				c.Flags().StringP("port", "p", "", "not in kl: "+publish)
			},
			run: func(_ *env, cmd *cobra.Command, _ []string) ([]string, error) {
				rest := given(cmd, map[string]string{"config": "--file", "timeout": "--timeout", "wait": "--wait"})
				agents, err := cmd.Flags().GetInt("agents")
				if err == nil && agents < 0 {
					err = misuse(cmd, errors.New("--agents must not be negative"))
				}
				if cmd.Flags().Changed("agents") {
					rest = append(rest, "--nodes="+strconv.Itoa(agents+1))
				}
				return rest, err
			},
		},
		{
			path: "cluster delete", kl: "down", args: "[NAME…]", example: "dev", check: cobra.ArbitraryArgs, named: true, define: all,
			run: func(_ *env, cmd *cobra.Command, _ []string) ([]string, error) {
				return given(cmd, map[string]string{"all": "--all"}), nil
			},
		},
		{path: "cluster list", kl: "list", define: func(c *cobra.Command) { c.Aliases = []string{"ls"} }},
		{path: "cluster start", kl: "start", args: "[NAME]", example: "dev", check: cobra.MaximumNArgs(1), named: true},
		{path: "cluster stop", kl: "stop", args: "[NAME]", example: "dev", check: cobra.MaximumNArgs(1), named: true},
		{path: "image import", kl: "image load", args: "IMAGE…", example: "app:dev", check: cobra.MinimumNArgs(1)},
	}
}

func ignoredKubeconfig(c *cobra.Command) {
	c.Flags().String("kubeconfig", "", "nothing to do in kl: it knows where the cluster's entries are")
}

func noNodes(c *cobra.Command) { c.Flags().String("nodes", "", "not in kl: "+allNodes) }

// given returns the flags that were given under the names that kl has for them.
func given(cmd *cobra.Command, names map[string]string) []string {
	var words []string
	for flag, name := range names {
		if cmd.Flags().Changed(flag) {
			words = append(words, name+"="+cmd.Flags().Lookup(flag).Value.String())
		}
	}
	return words
}

// balancers prints the addresses of load balancers.
const balancers = `-o=jsonpath={range .items[?(@.spec.type=="LoadBalancer")]}{.metadata.namespace}/{.metadata.name}{"  "}{.status.loadBalancer.ingress[*].ip}{"\n"}{end}`

// tunnel prints what minikube's command makes possible.
func tunnel(ctx context.Context, e *env, _ *cobra.Command) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	fmt.Fprintln(e.Err, "Load balancers need no tunnel: on Linux each answers at its address; elsewhere 'kl expose svc/NAME' publishes it on 127.0.0.1.")
	return wrap("list load balancers", e.runKubectl(ctx, e.layout(), e.Out, "get", "services", "--all-namespaces", balancers))
}
