package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klkube/kl/cluster"
)

func newPolicyCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "policy",
		Short:   "Show what NetworkPolicies deny, and why",
		Example: "  kl policy log -f\n  kl policy explain web --to db --port 5432\n  kl policy counters",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPolicyLogCmd(e), newPolicyExplainCmd(e), newPolicyCountersCmd(e))
	return cmd
}

func newPolicyLogCmd(e *env) *cobra.Command {
	var f policyLogFlags
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Print the connections that NetworkPolicies denied",
		Long: "Print the connections that NetworkPolicies denied on all nodes, oldest first: source, destination and the\n" +
			"policies that isolate the pod. Each node keeps its last 500 to 1000 denials; retries of a connection count as\n" +
			"one. With -o json each line is a document that includes the reason.",
		Example: "  kl policy log\n  kl policy log -f -n shop\n  kl policy log --pod shop/web-0 -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return policyLog(cmd.Context(), e, f) },
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "keep printing denials as they happen")
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "", "only connections from or to pods in this `namespace`")
	cmd.Flags().StringVar(&f.pod, "pod", "", "only connections from or to this `pod`: NAME or NAMESPACE/NAME")
	addOutput(cmd, &f.output)
	e.completePodFlag(cmd, "pod")
	e.completeNamespaceFlag(cmd)
	return cmd
}

func newPolicyExplainCmd(e *env) *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain POD",
		Short: "Explain what a pod may reach, or which policy allows or denies a connection",
		Long: "Explain which policies isolate a pod and what they allow or, with --to or --from, whether a connection would\n" +
			"be allowed and which policy and rule decide that at either end. The answer comes from the model that kl's nodes\n" +
			"enforce; for other clusters (--context) it is what the policies mean, whatever enforces them.\n\n" +
			"The other end is a pod (NAME or NAMESPACE/NAME), svc/NAME[.NAMESPACE], node/NAME, gateway (the address that\n" +
			"pods reach the API server at) or an IP address. For a Service, named or by its address, each pod behind it is\n" +
			"checked. Without --port, all ports that the destination declares are checked.",
		Example: "  kl policy explain web -n shop\n  kl policy explain web --to db --port 5432\n" +
			"  kl policy explain shop/web --to svc/kube-dns.kube-system --port 53/UDP\n  kl policy explain db --from 192.0.2.7 --port metrics",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exclusive(cmd, "to", "from"); err != nil {
				return err
			}
			return policyExplain(cmd.Context(), e, args[0], f, cmd.Flags().Changed("name"))
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return e.completePods(cmd)
		},
	}
	f.target.add(cmd, "`namespace` of pods and Services that are named without one (default \"default\")")
	cmd.Flags().StringVar(&f.to, "to", "", "check a connection from the pod to this `end`")
	cmd.Flags().StringVar(&f.from, "from", "", "check a connection from this `end` to the pod")
	cmd.Flags().StringVar(&f.port, "port", "", "`port` of the destination, by number or name, such as 80, 53/UDP or http")
	addOutput(cmd, &f.output)
	e.completePodFlag(cmd, "to")
	e.completePodFlag(cmd, "from")
	e.completeNamespaceFlag(cmd)
	return cmd
}

// completionTimeout is how long completion waits for the API.
const completionTimeout = 2 * time.Second

// completePods completes names of pods in the namespace of -n; without -n, names of pods in the namespace default, and
// NAMESPACE/NAME for all others.
func (e *env) completePods(cmd *cobra.Command) ([]string, cobra.ShellCompDirective) {
	namespace, _ := cmd.Flags().GetString("namespace") // commands that complete pods have the flag
	return e.complete(cmd, func(ctx context.Context, c kubernetes.Interface) ([]string, error) {
		pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: 500, ResourceVersion: "0"})
		if err != nil {
			return nil, err
		}
		var names []string
		for _, p := range pods.Items {
			if namespace == "" && p.Namespace != corev1.NamespaceDefault {
				p.Name = p.Namespace + "/" + p.Name
			}
			names = append(names, p.Name)
		}
		return names, nil
	})
}

func (e *env) completePodFlag(cmd *cobra.Command, flag string) {
	mustRegister(cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.completePods(cmd)
	}))
}

func (e *env) completeNamespaceFlag(cmd *cobra.Command) {
	mustRegister(cmd.RegisterFlagCompletionFunc("namespace", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return e.complete(cmd, func(ctx context.Context, c kubernetes.Interface) ([]string, error) {
			list, err := c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{Limit: 500, ResourceVersion: "0"})
			if err != nil {
				return nil, err
			}
			var names []string
			for _, n := range list.Items {
				names = append(names, n.Name)
			}
			return names, nil
		})
	}))
}

func (e *env) complete(cmd *cobra.Command, list func(context.Context, kubernetes.Interface) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	var f targetFlags
	f.context, _ = cmd.Flags().GetString("context")       // an error means that the command does not have the flag,
	f.kubeconfig, _ = cmd.Flags().GetString("kubeconfig") // and so uses kl clusters only
	client, _, err := f.client(e, cmd.Flags().Changed("name"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	names, err := list(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// client returns a client for the cluster that the flags select and, if it is a kl cluster, its spec.
func (f *targetFlags) client(e *env, named bool) (kubernetes.Interface, *cluster.Spec, error) {
	t, err := f.target(e, named)
	if err != nil {
		return nil, nil, err
	}
	config, err := t.REST()
	if err != nil {
		return nil, nil, err
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("make client: %w", err)
	}
	if t.Layout == nil {
		return client, nil, nil
	}
	spec, err := cluster.ReadSpec(*t.Layout)
	if err != nil {
		return nil, nil, err
	}
	return client, &spec, nil
}

// unenforced returns why the nodes of a cluster do not enforce NetworkPolicies, or nil if they do.
func unenforced(s cluster.Spec) error {
	switch {
	case s.Networking.CNI == "none":
		return errors.New("kl does not enforce NetworkPolicies in this cluster: networking.cni is none, so your own network plugin has to")
	case !s.Enabled(cluster.FeatureNetworkPolicy):
		return errors.New("this cluster does not enforce NetworkPolicies: kl.yaml has disable: [networkPolicy]")
	}
	return nil
}
