package cmd

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
	"github.com/klkube/kl/cluster/encryption"
	"github.com/klkube/kl/cluster/host"
)

func newSecretsCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "secrets",
		Short:   "Show and change how Secrets are encrypted in etcd",
		Example: "  kl secrets status\n  kl secrets rotate\n  kl secrets encrypt --resource secrets,configmaps",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSecretsStatusCmd(e), newSecretsEncryptCmd(e),
		newSecretsVerb(e, "rotate", "Encrypt with a new key and remove the old one",
			"Make a new key, write every encrypted object again with it, and remove the old key once no object is stored under it.\n"+
				"With a KMS plugin, objects are written again with the key that the plugin uses now. The cluster serves meanwhile. If\n"+
				"the command is interrupted, give it again: it goes on.",
			"The key of cluster %s is rotated.", (*host.Host).RotateSecrets),
		newSecretsVerb(e, "decrypt", "Store objects as they are, without encryption",
			"Write every encrypted object again as it is, and remove the keys. The cluster serves meanwhile. If the command is\n"+
				"interrupted, give it again: it goes on.",
			"Nothing is encrypted in cluster %s.", (*host.Host).DecryptSecrets))
	return cmd
}

func newSecretsVerb(e *env, use, short, long, done string, do func(*host.Host, context.Context, string) error) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Example: fmt.Sprintf("  kl secrets %s\n  kl secrets %s --name big", use, use),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withProgress(o, fmt.Sprintf(done, e.name), func(h *host.Host) error { return do(h, cmd.Context(), e.name) })
		},
	}
	addOutput(cmd, &o)
	return cmd
}

func newSecretsEncryptCmd(e *env) *cobra.Command {
	var o output
	var want cluster.Encryption
	cmd := &cobra.Command{
		Use:   "encrypt",
		Short: "Encrypt Secrets, or change what is encrypted, and how",
		Long: "Encrypt objects of a running cluster in etcd, and write those that exist again. Without flags this encrypts Secrets,\n" +
			"or finishes a change that was interrupted. With flags it changes the provider or the resources; what the flags do\n" +
			"not say stays. The cluster serves meanwhile. If the command is interrupted, give it again: it goes on.",
		Example: "  kl secrets encrypt\n  kl secrets encrypt --provider aesgcm --resource secrets,configmaps\n" +
			"  kl secrets encrypt --provider kms --kms-name vault --kms-endpoint unix:///run/vault-kms.sock",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if want.Provider == cluster.EncryptionNone {
				return misuse(cmd, fmt.Errorf("provider none encrypts nothing: use 'kl secrets decrypt'"))
			}
			if want.Provider == "" && want.KMS != (cluster.KMS{}) {
				want.Provider = cluster.EncryptionKMS
			}
			if err := config.CheckEncryption(want); err != nil {
				return misuse(cmd, err)
			}
			return e.withProgress(o, fmt.Sprintf("Cluster %s is encrypted.", e.name), func(h *host.Host) error {
				return h.EncryptSecrets(cmd.Context(), e.name, want)
			})
		},
	}
	cmd.Flags().StringVar((*string)(&want.Provider), "provider", "", "`provider`: secretbox (the default), aescbc, aesgcm or kms")
	cmd.Flags().StringSliceVar(&want.Resources, "resource", nil, "`resources` to encrypt, such as secrets,configmaps,widgets.example.com (default secrets)")
	cmd.Flags().StringVar(&want.KMS.Name, "kms-name", "", "`name` of the KMS plugin")
	cmd.Flags().StringVar(&want.KMS.Endpoint, "kms-endpoint", "", "`socket` of the KMS plugin, such as unix:///run/kms.sock")
	cmd.Flags().StringVar(&want.KMS.Timeout, "kms-timeout", "", "how long a call of the KMS plugin may take (default 3s)")
	mustRegister(cmd.RegisterFlagCompletionFunc("provider", cobra.FixedCompletions([]string{"secretbox", "aescbc", "aesgcm", "kms"}, cobra.ShellCompDirectiveNoFileComp)))
	addOutput(cmd, &o)
	return cmd
}

func newSecretsStatusCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what objects are stored under in etcd",
		Long: "Show the provider and the names of its keys, and count the objects of each encrypted resource by what they are\n" +
			"stored under. The count is made from the bytes in etcd. Keys are never shown.",
		Example: "  kl secrets status\n  kl secrets status -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := e.host(nil).Secrets(cmd.Context(), e.name)
			if err != nil {
				return err
			}
			if o.isJSON() {
				return printJSON(e.Out, s)
			}
			return printSecrets(e.Out, s, time.Now())
		},
	}
	addOutput(cmd, &o)
	return cmd
}

func printSecrets(w io.Writer, s *host.SecretsStatus, now time.Time) error {
	field(w, "cluster", s.Cluster)
	field(w, "provider", cmp.Or(string(s.Encryption.Provider), string(cluster.EncryptionNone)))
	for _, k := range s.Keys {
		text := k.Name
		if !k.Made.IsZero() {
			text += ", made " + age(now.Sub(k.Made)) + " ago"
		}
		if !k.Writes {
			text += ", only read"
		}
		field(w, "key", text)
	}
	if s.Unfinished {
		verb := "encrypt"
		if !s.Encryption.Enabled() {
			verb = "decrypt"
		}
		field(w, "problem", fmt.Sprintf("a change was interrupted: 'kl secrets %s --name %s' finishes it", verb, s.Cluster))
	}
	fmt.Fprintln(w)
	rows := [][]string{{"RESOURCE", "OBJECTS", "STORED UNDER"}}
	for _, t := range s.Resources {
		rows = append(rows, []string{t.Resource, fmt.Sprint(t.Objects), strings.Join(storedUnder(t), ", ")})
	}
	return table(w, rows)
}

// storedUnder says how many objects are stored under what.
func storedUnder(t encryption.Tally) []string {
	var parts []string
	for _, k := range t.Keys {
		parts = append(parts, fmt.Sprintf("%s %s: %d", k.Provider, k.Key, k.Objects))
	}
	if t.Plain > 0 {
		parts = append(parts, fmt.Sprintf("not encrypted: %d", t.Plain))
	}
	return parts
}
