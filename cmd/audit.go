package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui"
)

type auditFlags struct {
	follow                    bool
	user, resource, namespace string
	verbs                     []string
	since                     time.Duration // 0 means all
	output                    output
}

func newAuditCmd(e *env) *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Print who asked the API server for what",
		Long: "Print the audit log of the API server, oldest request first, with the files that it has rotated: time, user,\n" +
			"verb, resource and object, the answer's code, how long it took, and the client's address and program. It works\n" +
			"on a stopped cluster, too. -o json prints the events themselves, one a line, and those of all stages of a request.\n\n" +
			"What is logged is decided by audit.policy in kl.yaml. kl's own policy leaves out leases, events, health checks, and\n" +
			"what components read; it logs who read a Secret, and never what is in it.",
		Example: "  kl audit -f\n  kl audit --since 10m --verb create,update,patch,delete -n shop\n  kl audit --resource secrets --user system:serviceaccount:shop:web -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return misuse(cmd, err)
			}
			return audit(cmd.Context(), e, f, time.Now())
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "keep printing requests as they are answered")
	flags.StringVar(&f.user, "user", "", "only requests of this `user`, such as kubernetes-admin or system:node:n1")
	flags.StringSliceVar(&f.verbs, "verb", nil, "only requests with one of these `verbs`, separated by commas")
	flags.StringVar(&f.resource, "resource", "", "only requests for this `resource`: pods (and pods/exec, …), pods/exec, deployments.apps")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "only requests for objects in this `namespace`")
	flags.DurationVar(&f.since, "since", 0, "only requests that are newer than this `time`, such as 90s, 5m or 2h")
	addOutput(cmd, &f.output)
	e.completeNamespaceFlag(cmd)
	mustRegister(cmd.RegisterFlagCompletionFunc("verb", cobra.FixedCompletions(auditVerbs(), cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// auditVerbs are the verbs of requests: those for resources, and the methods of other requests.
func auditVerbs() []string {
	return []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "post", "put", "head", "options"}
}

// check returns what is wrong with the filters. A filter that can match nothing would look as if nothing had happened.
func (f *auditFlags) check(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	for _, v := range f.verbs {
		if !slices.Contains(auditVerbs(), v) {
			return fmt.Errorf("--verb %s: %s is no verb; use %s", quotable(strings.Join(f.verbs, ",")), quotable(v), strings.Join(auditVerbs(), ", "))
		}
	}
	switch resource := regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}(\.[a-z0-9.-]{1,252})?(/[a-z0-9]{1,62})?$`); {
	case given("verb") && len(f.verbs) == 0:
		return fmt.Errorf("--verb is empty: use %s", strings.Join(auditVerbs(), ", "))
	case given("resource") && !resource.MatchString(f.resource):
		return fmt.Errorf("--resource %s is no resource: write it as in 'kl kubectl api-resources', such as pods, pods/exec or deployments.apps", quotable(f.resource))
	case given("namespace") && len(validation.IsDNS1123Label(f.namespace)) > 0:
		return fmt.Errorf("--namespace %s is no name: use a-z, 0-9 and -", quotable(f.namespace))
	case given("user") && strings.TrimSpace(f.user) == "":
		return errors.New("--user is empty")
	case given("since") && f.since <= 0:
		return fmt.Errorf("--since %s must be greater than zero", f.since)
	}
	return nil
}

// matches reports whether an entry passes the filters.
func (f *auditFlags) matches(e observe.AuditEntry, now time.Time) bool {
	return (f.user == "" || e.User == f.user) &&
		(f.verbs == nil || slices.Contains(f.verbs, e.Verb)) &&
		(f.namespace == "" || e.Namespace == f.namespace) &&
		(f.resource == "" || matchesResource(f.resource, e)) &&
		(f.since == 0 || now.Sub(e.Time) < f.since)
}

// matchesResource compares with RESOURCE[.GROUP][/SUBRESOURCE]. Without a subresource all of them match.
func matchesResource(want string, e observe.AuditEntry) bool {
	want, sub, exact := strings.Cut(want, "/")
	want, group, _ := strings.Cut(want, ".")
	resource, subresource, _ := strings.Cut(e.Resource, "/")
	return resource == want && (group == "" || e.Group == group) && (!exact || sub == subresource)
}

func audit(ctx context.Context, e *env, f auditFlags, now time.Time) error {
	l := e.layout()
	if _, err := cluster.ReadSpec(l); err != nil {
		return err
	}
	line := ui.AuditLines(e.colour(), now.Location())
	read, printed, damaged := 0, 0, 0
	err := observe.ReadAudit(ctx, l.AuditLog(), f.follow, func(raw []byte) error {
		entry, ok := observe.ParseAudit(string(raw))
		read++
		switch {
		case !ok:
			damaged++
			return nil
		case !f.matches(entry, now), !f.output.isJSON() && !entry.Finished():
			return nil
		}
		printed++
		text := entry.Raw
		if !f.output.isJSON() {
			text = line(entry)
		}
		_, err := fmt.Fprintln(e.Out, text)
		return wrap("print request", err)
	})
	switch {
	case ctx.Err() != nil && f.follow:
		return nil // Ctrl-C is how following ends
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	if _, err := os.Stat(l.AuditLog()); read == 0 && errors.Is(err, fs.ErrNotExist) {
		return &cluster.Error{Op: "read audit log " + l.AuditLog(), Err: errors.New("there is none yet"), Hint: "the API server begins one when it starts: see 'kl status'"}
	}
	if damaged > 0 {
		fmt.Fprintf(e.Err, "%d of %d lines are no audit events and were left out.\n", damaged, read)
	}
	if printed == 0 && !f.output.isJSON() {
		fmt.Fprintln(e.Err, "No request matches.")
	}
	return nil
}
