package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/cluster/policy"
)

type policyLogFlags struct {
	follow         bool
	namespace, pod string
	output         output
}

// matches reports whether a denial passes the filters.
func (f policyLogFlags) matches(d policy.Denial) bool {
	ends := []string{d.From, d.To}
	if f.namespace != "" && !slices.ContainsFunc(ends, func(end string) bool { return strings.HasPrefix(end, f.namespace+"/") }) {
		return false
	}
	return f.pod == "" || slices.ContainsFunc(ends, func(end string) bool {
		return end == f.pod || !strings.Contains(f.pod, "/") && strings.HasSuffix(end, "/"+f.pod)
	})
}

func policyLog(ctx context.Context, e *env, f policyLogFlags) error {
	client, nodes, err := policyNodes(ctx, e)
	if err != nil {
		return err
	}
	defer client.Close()
	var all []policy.Denial
	for _, n := range nodes {
		err := observe.ReadDenials(ctx, client, n, func(d policy.Denial) { all = append(all, d) })
		if err != nil {
			return &cluster.Error{Op: "read denials", Node: n, Err: err}
		}
	}
	slices.SortStableFunc(all, func(a, b policy.Denial) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Seq, b.Seq)) })
	p := denialPrinter{w: e.Out, flags: f, newest: map[string]time.Time{}}
	for _, d := range all {
		if err := p.print(d); err != nil {
			return err
		}
	}
	if !f.follow {
		if p.printed == 0 && !f.output.isJSON() {
			fmt.Fprintln(e.Err, "No connection was denied.")
		}
		return nil
	}
	return p.follow(ctx, client, e.Logger)
}

// policyNodes returns a client of the status socket and the names of the connected nodes.
func policyNodes(ctx context.Context, e *env) (*cluster.Client, []string, error) {
	l := e.layout()
	spec, err := cluster.ReadSpec(l)
	if err != nil {
		return nil, nil, err
	}
	if err := unenforced(spec); err != nil {
		return nil, nil, err
	}
	client := cluster.NewClient(l)
	status, err := client.Status(ctx)
	if err != nil {
		client.Close()
		return nil, nil, &cluster.Error{Op: "ask cluster " + e.name, Err: err, Hint: "see 'kl status'"}
	}
	return client, observe.ConnectedNodes(status), nil
}

// denialPrinter prints each denial once. It is safe for concurrent use.
type denialPrinter struct {
	w     io.Writer
	flags policyLogFlags

	mu      sync.Mutex
	newest  map[string]time.Time // by node: the time of its newest denial so far
	printed int
}

// print skips what was printed before: every stream begins with the denials that the node has kept. It compares times,
// because sequence numbers start over when the node's agent does.
func (p *denialPrinter) print(d policy.Denial) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !d.Time.After(p.newest[d.Node]) {
		return nil
	}
	p.newest[d.Node] = d.Time
	if !p.flags.matches(d) {
		return nil
	}
	p.printed++
	if p.flags.output.isJSON() {
		return wrap("print denial", json.NewEncoder(p.w).Encode(d))
	}
	_, err := fmt.Fprintln(p.w, denialLine(d))
	return wrap("print denial", err)
}

// denialLine formats a denial as a line of text.
func denialLine(d policy.Denial) string {
	by := ": " + d.Reason
	if len(d.Policies) > 0 {
		by = " by " + strings.Join(d.Policies, ", ")
	}
	return fmt.Sprintf("%s  %s  %s → %s  %s  %s denied%s", d.Time.Local().Format("2006-01-02 15:04:05.000"), d.Node, d.From, d.To,
		portWord(d.Protocol, d.Port), d.Direction, by)
}

// portWord formats a protocol and port; protocols such as ICMP have no port.
func portWord(protocol corev1.Protocol, port uint16) string {
	if port == 0 {
		return string(protocol)
	}
	return fmt.Sprintf("%s %d", protocol, port)
}

// follow prints the denials of all nodes as they happen, until ctx is done or the control plane stops.
func (p *denialPrinter) follow(ctx context.Context, client *cluster.Client, log *slog.Logger) error {
	following, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := observe.FollowDenials(following, client, log, func(d policy.Denial) {
		if err := p.print(d); err != nil {
			cancel(err)
		}
	})
	switch {
	case ctx.Err() != nil:
		return nil // Ctrl-C is how following ends
	case following.Err() != nil:
		return context.Cause(following)
	}
	return &cluster.Error{Op: "follow denials", Err: err, Hint: "see 'kl status'"}
}

func newPolicyCountersCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "counters",
		Short: "Count what each NetworkPolicy allowed and denied",
		Long: "Print how many connections each NetworkPolicy allowed, and how many packets of the pods it isolates were\n" +
			"dropped: the sums of all nodes since their agents started. -o json prints the counters of each node, with\n" +
			"pairs of pods and the size of the rule set.",
		Example: "  kl policy counters\n  kl policy counters -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return policyCounters(cmd.Context(), e, o) },
	}
	addOutput(cmd, &o)
	return cmd
}

func policyCounters(ctx context.Context, e *env, o output) error {
	client, nodes, err := policyNodes(ctx, e)
	if err != nil {
		return err
	}
	defer client.Close()
	all := []policy.Counters{}
	for _, n := range nodes {
		c, err := observe.ReadCounters(ctx, client, n)
		if err != nil {
			return &cluster.Error{Op: "read counters", Node: n, Err: err}
		}
		all = append(all, c)
	}
	if o.isJSON() {
		return printJSON(e.Out, all)
	}
	rows := counterRows(all)
	if len(rows) == 1 {
		fmt.Fprintln(e.Err, "There are no NetworkPolicies.")
		return nil
	}
	return table(e.Out, rows)
}

// counterRows returns a table with the sums of all nodes' counters.
func counterRows(all []policy.Counters) [][]string {
	type key struct {
		policy    string
		direction policy.Direction
	}
	sums := map[key]*[2]uint64{}
	var keys []key
	for _, node := range all {
		for _, c := range node.Policies {
			k := key{c.Policy, c.Direction}
			if sums[k] == nil {
				sums[k] = new([2]uint64)
				keys = append(keys, k)
			}
			sums[k][0] += c.Allowed
			sums[k][1] += c.Denied
		}
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.policy, b.policy), cmp.Compare(b.direction, a.direction))
	})
	rows := [][]string{{"POLICY", "DIRECTION", "ALLOWED CONNECTIONS", "DENIED PACKETS"}}
	for _, k := range keys {
		rows = append(rows, []string{k.policy, string(k.direction), fmt.Sprint(sums[k][0]), fmt.Sprint(sums[k][1])})
	}
	return rows
}
