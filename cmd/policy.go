package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
		Short:   "See what NetworkPolicies deny, and why",
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
		Short: "Print the connections that policies denied",
		Long: "Print the connections that NetworkPolicies denied, on all nodes, in the order of time: who, to whom, and\n" +
			"the policies that isolate the pod. A node remembers its last 500 to 1000; a retry of the same connection is\n" +
			"no new line. With -o json it is one document a line, with the reason in words.",
		Example: "  kl policy log\n  kl policy log -f -n shop\n  kl policy log --pod shop/web-0 -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return policyLog(cmd.Context(), e, f) },
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on printing denials as they happen")
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "", "only from or to pods of this namespace")
	cmd.Flags().StringVar(&f.pod, "pod", "", "only from or to this pod: NAME, or NAMESPACE/NAME")
	addOutput(cmd, &f.output)
	e.completePodFlag(cmd, "pod")
	e.completeNamespaceFlag(cmd)
	return cmd
}

func newPolicyExplainCmd(e *env) *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain POD",
		Short: "Say what a pod may do, or whether a connection is allowed, and which policy and rule decides",
		Long: "Say which policies isolate a pod and what they allow, or, with --to or --from, whether a connection would be\n" +
			"allowed and which policy and rule decides on either side. It is the model that the nodes enforce; on a\n" +
			"cluster that is not kl's (--context) it is what the cluster's policies mean.\n\n" +
			"An end is a pod (NAME or NAMESPACE/NAME), svc/NAME[.NAMESPACE], node/NAME, gateway (the API server as pods\n" +
			"see it) or an address. A Service is judged at the pods behind it. Without --port, the ports that the\n" +
			"destination declares are judged.",
		Example: "  kl policy explain web -n shop\n  kl policy explain web --to db --port 5432\n" +
			"  kl policy explain shop/web --to svc/kube-dns.kube-system --port 53/UDP\n  kl policy explain db --from 192.0.2.7 --port metrics",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return policyExplain(cmd.Context(), e, args[0], f, cmd.Flags().Changed("name"))
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return e.completePods(cmd)
		},
	}
	f.target.add(cmd, "namespace of pods and Services named without one (default \"default\")")
	cmd.Flags().StringVar(&f.to, "to", "", "judge a connection from the pod to this `end`")
	cmd.Flags().StringVar(&f.from, "from", "", "judge a connection from this `end` to the pod")
	cmd.Flags().StringVar(&f.port, "port", "", "`port` of the destination, by number or name: 80, 53/UDP, http")
	cmd.MarkFlagsMutuallyExclusive("to", "from")
	addOutput(cmd, &f.output)
	e.completePodFlag(cmd, "to")
	e.completePodFlag(cmd, "from")
	e.completeNamespaceFlag(cmd)
	return cmd
}

// completionPatience bounds what a press of the tab key waits for the API.
const completionPatience = 2 * time.Second

// completePods offers the pods of the namespace that -n says; without it those of default, and the others with theirs.
func (e *env) completePods(cmd *cobra.Command) ([]string, cobra.ShellCompDirective) {
	namespace, _ := cmd.Flags().GetString("namespace")
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
	f.context, _ = cmd.Flags().GetString("context")       // a command without the flag
	f.kubeconfig, _ = cmd.Flags().GetString("kubeconfig") // looks at kl's clusters
	client, _, err := f.client(e, cmd.Flags().Changed("name"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	names, err := list(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// client returns a client of the API that the flags name, and, if it is a cluster of kl's, its specification.
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

// unenforced says why a cluster's nodes enforce no policies; nil if they do.
func unenforced(s cluster.Spec) error {
	switch {
	case s.Networking.CNI == "none":
		return errors.New("networking.cni is none, so the nodes of this cluster leave NetworkPolicies to the network you brought")
	case slices.Contains(s.Disable, "networkPolicy"):
		return errors.New("this cluster does not enforce NetworkPolicies: kl.yaml has disable: [networkPolicy]")
	}
	return nil
}
