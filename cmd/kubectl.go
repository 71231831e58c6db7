package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/statefile"
)

func newKubectlCmd(e *env) *cobra.Command {
	return &cobra.Command{
		DisableFlagsInUseLine: true,

		Use:   "kubectl [--name NAME] COMMAND…",
		Short: "Run the built-in kubectl against the cluster",
		Long: "Run the built-in kubectl against the cluster, whatever the current context of your kubeconfig is. All\n" +
			"arguments are passed to kubectl, except a --name that comes first. 'kl kubectl help' lists its commands.\n" +
			"'kl kubectl config' reads and changes your kubeconfig, never the cluster's own.",
		Example: "  kl kubectl get pods -A\n  kl kubectl --name big apply -f app.yaml\n  kl kubectl exec -it web-0 -- sh",
		// Flags belong to kubectl, and some of its commands have a --name too.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			args, err := e.takeName(args)
			if err != nil {
				return misuse(cmd, err)
			}
			return kubectl(cmd.Context(), e, args)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			return completeKubectl(cmd.Context(), e, args, word)
		},
	}
}

// takeName removes --name from the front of kubectl's arguments and sets the cluster's name to its value.
func (e *env) takeName(args []string) ([]string, error) {
	args, err := takeFlags(args, map[string]func(string) error{"--name": e.useName})
	if err != nil {
		return nil, err
	}
	return args, misplacedName(args)
}

func (e *env) useName(name string) error {
	e.name = name
	return cluster.CheckName(name)
}

// takeFlags removes kl's own flags from the front of another program's arguments, and calls the function that set has for each
// with its value.
func takeFlags(args []string, set map[string]func(value string) error) ([]string, error) {
	for len(args) > 0 {
		flag, value, joined := strings.Cut(args[0], "=")
		use, ok := set[flag]
		switch {
		case !ok:
			return args, nil
		case joined:
			args = args[1:]
		case len(args) > 1:
			value, args = args[1], args[2:]
		default:
			return nil, fmt.Errorf("flag needs an argument: %s", flag)
		}
		if err := use(value); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// misplacedName returns an error if --name is behind the command, or behind another flag, where it is kubectl's: few of its
// commands have one, and with all others a person means a cluster, and would be shown the wrong one.
func misplacedName(args []string) error {
	command := kubectlCommand(args)
	if !slices.Contains(strings.Fields(withoutName), command) {
		return nil
	}
	for i, arg := range args {
		value, joined := strings.CutPrefix(arg, "--name=")
		switch {
		case arg == "--":
			return nil
		case arg == "--name" && i+1 < len(args):
			value = args[i+1]
		case !joined:
			continue
		}
		return &cluster.Error{
			Op: "kl kubectl", Err: fmt.Errorf("kubectl %s has no flag --name", command),
			Hint: fmt.Sprintf("put the name of a cluster first: kl kubectl --name %s %s …", value, command),
		}
	}
	return nil
}

// withoutName are the commands of kubectl that have no flag --name.
const withoutName = `annotate api-resources api-versions apply attach auth certificate cluster-info config cordon cp create debug delete describe
	diff drain edit events exec explain get kuberc kustomize label logs options patch port-forward proxy replace rollout run scale set taint top
	uncordon version wait`

// kubectl replaces this process with kubectl, so that terminal, signals and exit code are kubectl's.
func kubectl(ctx context.Context, e *env, args []string) error {
	engine, environ, err := e.kubectlProgram(ctx, args)
	if err != nil {
		return err
	}
	if err := e.checkAPI(args); err != nil {
		return err
	}
	if err := e.Exec(engine, append([]string{"kl-engine", "kubectl"}, args...), environ); err != nil {
		return fmt.Errorf("run kubectl: %w", err)
	}
	return nil
}

// checkAPI returns an error if kubectl would talk to the API server of a cluster that is off.
func (e *env) checkAPI(args []string) error {
	if worksOffline(args) {
		return nil
	}
	return host.Serving(e.layout())
}

// worksOffline reports whether a kubectl command may do without the API server.
func worksOffline(args []string) bool {
	offline := []string{"--help", "-h", "--dry-run=client", "--client", "--client=true", "--local", "--local=true"}
	if len(args) == 0 || slices.ContainsFunc(args, func(a string) bool { return slices.Contains(offline, a) }) {
		return true
	}
	return slices.Contains([]string{"help", "completion", "config", "kustomize", "options", "plugin", "__complete", "__completeNoDesc"}, kubectlCommand(args))
}

// kubectlProgram returns the program to run with first argument "kubectl" and then args, and its environment. 'kubectl
// config' gets the user's kubeconfig: the cluster's own holds what kl relies on, and must not change.
func (e *env) kubectlProgram(ctx context.Context, args []string) (engine string, environ []string, err error) {
	if kubectlCommand(args) == "config" {
		p, err := e.Payload(ctx)
		return p.Engine, os.Environ(), err
	}
	return e.clusterKubectl(ctx, e.layout())
}

// clusterKubectl is kubectlProgram for commands that use a cluster.
func (e *env) clusterKubectl(ctx context.Context, l cluster.Layout) (engine string, environ []string, err error) {
	if _, err := cluster.ReadSpec(l); err != nil {
		return "", nil, err
	}
	p, err := e.Payload(ctx)
	if err != nil {
		return "", nil, err
	}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "KUBECONFIG=") {
			environ = append(environ, entry)
		}
	}
	environ = append(environ, "KUBECONFIG="+l.Kubeconfig())
	if cache := e.rootsCache(); cache != "" {
		environ = append(environ, "KUBECACHEDIR="+cache)
	}
	return p.Engine, environ, nil
}

// rootsCache is the directory where kubectl keeps what it has discovered, if root runs it with the home directory of another user:
// kubectl would leave files there that the user can neither read nor replace. Empty leaves the choice to kubectl.
func (e *env) rootsCache() string {
	if os.Geteuid() != 0 || os.Getenv("KUBECACHEDIR") != "" {
		return ""
	}
	info, err := os.Stat(e.UserHome)
	if err != nil {
		return ""
	}
	root, err := osuser.LookupId("0")
	if owner, ok := statefile.OwnerOf(info); err != nil || !ok || owner == 0 || root.HomeDir == "" {
		return ""
	}
	return filepath.Join(root.HomeDir, ".kube", "cache")
}

// kubectlCommand returns the command among the arguments of kubectl, which flags may precede; empty if there is none.
func kubectlCommand(args []string) string {
	const booleans = " --disable-compression --insecure-skip-tls-verify --match-server-version --warnings-as-errors --help -h --alsologtostderr --logtostderr "
	for i := 0; i < len(args); i++ {
		flag, isFlag := args[i], strings.HasPrefix(args[i], "-") && args[i] != "-"
		switch {
		case flag == "--":
			return ""
		case !isFlag:
			return flag
		case strings.Contains(booleans, " "+flag+" "), strings.Contains(flag, "="), !strings.HasPrefix(flag, "--") && len(flag) > 2:
		default:
			i++ // the flag's value
		}
	}
	return ""
}

// runKubectl runs the built-in kubectl as a child process. It is host.Host.Kubectl.
func (e *env) runKubectl(ctx context.Context, l cluster.Layout, out io.Writer, args ...string) error {
	engine, environ, err := e.clusterKubectl(ctx, l)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, engine, append([]string{"kubectl"}, args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environ, out, out
	return cmd.Run()
}

// completeKubectl passes completion on to kubectl, which uses cobra as well.
func completeKubectl(ctx context.Context, e *env, args []string, word string) ([]string, cobra.ShellCompDirective) {
	args, err := e.takeName(args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	engine, environ, err := e.kubectlProgram(ctx, args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	cmd := exec.CommandContext(ctx, engine, append(append([]string{"kubectl", "__complete"}, args...), word)...)
	cmd.Env = environ
	out, err := cmd.Output()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return parseCompletion(out)
}

// parseCompletion parses the output of cobra's __complete: one suggestion per line, then a colon and the directive.
func parseCompletion(out []byte) ([]string, cobra.ShellCompDirective) {
	lines := strings.Split(string(bytes.TrimSpace(out)), "\n")
	last := lines[len(lines)-1]
	directive, err := strconv.Atoi(strings.TrimPrefix(last, ":"))
	if err != nil || !strings.HasPrefix(last, ":") {
		return nil, cobra.ShellCompDirectiveError
	}
	return lines[:len(lines)-1], cobra.ShellCompDirective(directive)
}
