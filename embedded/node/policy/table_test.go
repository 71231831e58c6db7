package policy

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/knftables"
	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster/policy"
)

func exampleObjects(t *testing.T) policy.Objects {
	t.Helper()
	o := policy.Objects{}
	o.Pods = append(o.Pods, labPod("x", "a", "n1", "10.244.1.10"), labPod("x", "b", "n1", "10.244.1.11"), labPod("x", "c", "n2", "10.244.2.10"))
	np := &networkingv1.NetworkPolicy{}
	if err := yaml.UnmarshalStrict([]byte(`
metadata: {namespace: x, name: web}
spec:
  podSelector: {matchLabels: {pod: a}}
  ingress:
  - {from: [{podSelector: {matchLabels: {pod: c}}}, {ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.8/29]}}], ports: [{port: 80}, {port: 8000, endPort: 8080}, {protocol: UDP, port: 53}]}
  - {ports: [{port: serve-a}]}
  egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]
  policyTypes: [Ingress, Egress]`), np); err != nil {
		t.Fatal(err)
	}
	o.Policies = append(o.Policies, np)
	return o
}

func exampleRules(t *testing.T) *ruleset {
	return compile(policy.Compile(exampleObjects(t), policy.Options{Gateway: gateway}), Config{Node: "n1", Gateway: gateway}.withDefaults())
}

// TestRuleset compares a node's rules with testdata/ruleset.golden; KL_UPDATE_GOLDEN=1 rewrites it.
func TestRuleset(t *testing.T) {
	const path = "testdata/ruleset.golden"
	got := exampleRules(t).String()
	if os.Getenv("KL_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// failing is a fake nftables that refuses the next transactions.
type failing struct {
	*knftables.Fake
	times int
}

func (f *failing) Run(ctx context.Context, tx *knftables.Transaction) error {
	if f.times > 0 {
		f.times--
		return errors.New("refused")
	}
	return f.Fake.Run(ctx, tx)
}

// TestTableAfterFailure: a refused transaction leaves the old rules, and the next one repairs everything.
func TestTableAfterFailure(t *testing.T) {
	nft := &failing{Fake: knftables.NewFake(knftables.InetFamily, TableName)}
	table := NewTable(nft)
	apply(t, table, compile(nil, Config{Node: "n1", Gateway: gateway}.withDefaults()))
	before := nft.Dump()
	nft.times = 1
	if err := table.Apply(t.Context(), exampleRules(t)); err == nil {
		t.Fatal("the refusal was not reported")
	}
	if diff := cmp.Diff(before, nft.Dump()); diff != "" {
		t.Errorf("after the refusal (-before +after):\n%s", diff)
	}
	tx := nft.NewTransaction() // meanwhile another program changes the table
	tx.Flush(&knftables.Chain{Name: chainJudge})
	if err := nft.Run(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	apply(t, table, exampleRules(t))
	clean := NewTable(knftables.NewFake(knftables.InetFamily, TableName))
	apply(t, clean, exampleRules(t))
	table.nft = nft.Fake
	if diff := cmp.Diff(dump(clean), dump(table)); diff != "" {
		t.Errorf("after the repair (-want +got):\n%s", diff)
	}
}

// TestCountersSurvive: the packets of deleted counters are still reported.
func TestCountersSurvive(t *testing.T) {
	nft := knftables.NewFake(knftables.InetFamily, TableName)
	table := NewTable(nft)
	apply(t, table, exampleRules(t))
	const name = "allow-e-b587abacbf6b-x/web"
	nft.Table.Counters[name].Packets = knftables.PtrTo[uint64](7)
	o := exampleObjects(t)
	o.Policies = nil
	apply(t, table, compile(policy.Compile(o, policy.Options{}), Config{Node: "n1"}.withDefaults()))
	if nft.Table.Counters[name] != nil {
		t.Fatalf("counter %s was not deleted", name)
	}
	counters, err := table.Counters(t.Context())
	if err != nil || counters[name] != 7 {
		t.Errorf("counter %s: %d, %v", name, counters[name], err)
	}
}
