package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/policy"
)

type policyLogFlags struct {
	follow         bool
	namespace, pod string
	output         output
}

// wants tells whether a denial is one that was asked for.
func (f policyLogFlags) wants(d policy.Denial) bool {
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
		err := eachDenial(ctx, client, n, "", func(d policy.Denial) { all = append(all, d) })
		if err != nil {
			return &cluster.Error{Op: "read denials", Node: n, Err: err}
		}
	}
	slices.SortStableFunc(all, func(a, b policy.Denial) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Seq, b.Seq)) })
	p := denialPrinter{w: e.Out, flags: f, last: map[string]time.Time{}}
	for _, d := range all {
		p.print(d)
	}
	if !f.follow {
		if p.printed == 0 && !f.output.isJSON() {
			fmt.Fprintln(e.Err, "No connection was denied.")
		}
		return nil
	}
	return p.follow(ctx, client)
}

// policyNodes returns the nodes that can be asked.
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
		return nil, nil, &cluster.Error{Op: "ask cluster " + e.name, Err: err, Hint: "is it running? see 'kl status'"}
	}
	return client, connected(status), nil
}

func connected(s cluster.Status) (nodes []string) {
	for _, n := range s.Nodes {
		if n.Connected {
			nodes = append(nodes, n.Name)
		}
	}
	return nodes
}

// eachDenial reads the denials that a node remembers; with the query watch=1 it goes on until the stream breaks.
func eachDenial(ctx context.Context, client *cluster.Client, node, query string, see func(policy.Denial)) error {
	resp, err := client.Node(ctx, node, http.MethodGet, policy.DenialsPath+query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := json.NewDecoder(resp.Body); ; {
		var d policy.Denial
		if err := lines.Decode(&d); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read denials: %w", err)
		}
		see(d)
	}
}

// denialPrinter prints denials that are new. It is safe for concurrent use.
type denialPrinter struct {
	w     io.Writer
	flags policyLogFlags

	mu      sync.Mutex
	last    map[string]time.Time // by node: what was seen
	printed int
	err     error
}

// print passes over what was printed before: streams begin with what the node remembers, and its numbers start over with it.
func (p *denialPrinter) print(d policy.Denial) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !d.Time.After(p.last[d.Node]) || p.err != nil {
		return
	}
	p.last[d.Node] = d.Time
	if !p.flags.wants(d) {
		return
	}
	p.printed++
	if p.flags.output.isJSON() {
		p.err = json.NewEncoder(p.w).Encode(d)
		return
	}
	_, p.err = fmt.Fprintln(p.w, denialLine(d))
}

// denialLine is a denial for people.
func denialLine(d policy.Denial) string {
	by := ": " + d.Reason
	if len(d.Policies) > 0 {
		by = " by " + strings.Join(d.Policies, ", ")
	}
	return fmt.Sprintf("%s  %s  %s → %s  %s  %s denied%s", d.Time.Local().Format("2006-01-02 15:04:05.000"), d.Node, d.From, d.To,
		portWord(d.Protocol, d.Port), d.Direction, by)
}

// portWord is a port for people; protocols such as ICMP have none.
func portWord(protocol corev1.Protocol, port uint16) string {
	if port == 0 {
		return string(protocol)
	}
	return fmt.Sprintf("%s %d", protocol, port)
}

// follow prints what every node denies until ctx ends or the control plane goes away. Nodes may come and go.
func (p *denialPrinter) follow(ctx context.Context, client *cluster.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	following := map[string]bool{}
	err := client.Watch(ctx, func(s cluster.Status) bool {
		for _, n := range connected(s) {
			if !following[n] {
				following[n] = true
				wg.Go(func() { p.followNode(ctx, client, n) })
			}
		}
		return p.failure() == nil
	})
	if ctx.Err() != nil || p.failure() != nil {
		return p.failure() // Ctrl-C is how this ends
	}
	return &cluster.Error{Op: "follow denials", Err: err, Hint: "see 'kl status'"}
}

func (p *denialPrinter) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// followNode reads a node's stream, and begins again when it breaks: the node may restart.
func (p *denialPrinter) followNode(ctx context.Context, client *cluster.Client, node string) {
	const pause = time.Second
	for p.failure() == nil {
		_ = eachDenial(ctx, client, node, "?watch=1", p.print) // whatever broke it, it is tried again
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func newPolicyCountersCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "counters",
		Short: "Count what each policy allowed and denied",
		Long: "Print for each NetworkPolicy how many connections it let in or out, and how many packets were dropped of pods\n" +
			"it isolates, added up over all nodes since their agents started. With -o json it is what every node has\n" +
			"counted, pairs of pods and the size of its rules included.",
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
		resp, err := client.Node(ctx, n, http.MethodGet, policy.CountersPath, nil)
		if err != nil {
			return &cluster.Error{Op: "read counters", Node: n, Err: err}
		}
		var c policy.Counters
		err = json.NewDecoder(resp.Body).Decode(&c)
		resp.Body.Close()
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

// counterRows adds up the counters of all nodes.
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
