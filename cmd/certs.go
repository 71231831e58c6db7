package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

func newCertsCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "certs",
		Short:   "Show and renew the certificates of the cluster",
		Example: "  kl certs list\n  kl certs rotate",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCertsListCmd(e), newCertsRotateCmd(e))
	return cmd
}

func newCertsRotateCmd(e *env) *cobra.Command {
	var o output
	var cas, retire, force bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Issue all certificates anew, or replace the certificate authorities",
		Long: "Make new keys and certificates for the control plane and for the cluster's kubeconfig, and have every kubelet renew its\n" +
			"own. The control plane restarts, which takes seconds; nodes and pods run on, and nodes that are off are started. If the\n" +
			"command is interrupted, give it again: it goes on.\n\n" +
			"With --cas, the certificate authorities and the key that signs the tokens of ServiceAccounts are replaced, too. The old ones\n" +
			"stay trusted, and who knows the old authority alone accepts the new certificates: running pods and kubeconfigs that were\n" +
			"exported work as before.\n\n" +
			"With --retire, the old ones are no longer trusted. This is refused while something may rely on them: kubelets, containers\n" +
			"that began before the new authority, and tokens, which live for a day. With --force it is done all the same. Tokens in\n" +
			"Secrets are made anew.",
		Example: "  kl certs rotate\n  kl certs rotate --cas\n  kl certs rotate --retire",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, done := host.RotateOptions{Kind: cluster.RotateLeaves, Force: force}, "The certificates of cluster %s are new."
			switch {
			case cas:
				opts.Kind = cluster.RotateAuthorities
				done = "The certificates and authorities of cluster %[1]s are new. The old authorities are trusted until " +
					"'kl certs rotate --retire --name %[1]s'."
			case retire:
				opts.Kind = cluster.RetireAuthorities
				done = "Cluster %s no longer trusts its old authorities."
			}
			if cas && retire {
				return misuse(cmd, errors.New("--cas and --retire are two steps: new authorities first, and the end of the old ones later"))
			}
			if force && !retire {
				return misuse(cmd, errors.New("--force goes with --retire"))
			}
			return e.withProgress(o, fmt.Sprintf(done, e.name), func(h *host.Host) error {
				return h.RotateCertificates(cmd.Context(), e.name, opts)
			})
		},
	}
	cmd.Flags().BoolVar(&cas, "cas", false, "replace the certificate authorities and the key of ServiceAccounts' tokens, too")
	cmd.Flags().BoolVar(&retire, "retire", false, "end the trust in the authorities and the key that --cas has replaced")
	cmd.Flags().BoolVar(&force, "force", false, "retire although something may still rely on what is old")
	addOutput(cmd, &o)
	return cmd
}

func newCertsListCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List every certificate of the cluster with its end",
		Long: "List every certificate of the cluster, soonest end first: those of the control plane, of the cluster's kubeconfig,\n" +
			"and of each node's kubelet, and the key that signs the tokens of ServiceAccounts. On a stopped cluster, list those\n" +
			"on this machine. Certificates that end soon are named with what to do.",
		Example: "  kl certs list\n  kl certs list -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return certsList(cmd.Context(), e, o, time.Now()) },
	}
	addOutput(cmd, &o)
	return cmd
}

func certsList(ctx context.Context, e *env, o output, now time.Time) error {
	l := e.layout()
	if _, err := cluster.ReadSpec(l); err != nil {
		return err
	}
	list, damaged := cluster.ReadCertificates(l)
	ofNodes, silent := nodeCertificates(ctx, e)
	keys := slices.IndexFunc(list, func(c cluster.Certificate) bool { return c.NotAfter.IsZero() })
	if keys < 0 {
		keys = len(list)
	}
	list = slices.Insert(list, keys, ofNodes...)
	cluster.SortCertificates(list[:keys+len(ofNodes)])
	if o.isJSON() {
		if list == nil {
			list = []cluster.Certificate{}
		}
		if err := printJSON(e.Out, list); err != nil {
			return wrap("print certificates", err)
		}
	} else if err := table(e.Out, certificateTable(list, now)); err != nil {
		return wrap("print certificates", err)
	}
	for _, c := range list {
		if warning := c.Warning(e.name, now); warning != "" {
			fmt.Fprintf(e.Err, "kl: %s\n", printable(warning))
		}
	}
	rotation, err := host.RotationOf(l)
	for _, problem := range rotation.Problems(e.name) {
		fmt.Fprintf(e.Err, "kl: %s\n", printable(problem))
	}
	if silent != "" {
		fmt.Fprintln(e.Err, printable(silent))
	}
	return errors.Join(damaged, err)
}

func certificateTable(list []cluster.Certificate, now time.Time) [][]string {
	rows := [][]string{{"NAME", "NODE", "ENDS", "LEFT", "SUBJECT", "ISSUER", "NAMES"}}
	for _, c := range list {
		ends, left := "never", ""
		if !c.NotAfter.IsZero() {
			ends, left = c.NotAfter.Local().Format("2006-01-02 15:04"), age(c.NotAfter.Sub(now))
		}
		issuer := c.Issuer
		if c.Authority && c.Issuer == c.Subject {
			issuer = "itself"
		}
		rows = append(rows, []string{c.Name, c.Node, ends, left, c.Subject, issuer, strings.Join(c.Names, ",")})
	}
	return rows
}

// nodeCertificates asks each node's agent. silent says of which nodes nothing is known, and why.
func nodeCertificates(ctx context.Context, e *env) (list []cluster.Certificate, silent string) {
	c := cluster.NewClient(e.layout())
	defer c.Close()
	status, err := c.Status(ctx)
	if err != nil {
		return nil, "Those of the nodes are not listed: the control plane does not run."
	}
	var missing []string
	for _, n := range status.Nodes {
		certificates, err := c.Certificates(ctx, n.Name)
		if err != nil {
			missing = append(missing, n.Name)
			continue
		}
		list = append(list, certificates...)
	}
	if len(missing) > 0 {
		silent = "Those of nodes that do not answer are not listed: " + strings.Join(missing, ", ")
	}
	return list, silent
}
