package policy

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"

	"github.com/klkube/kl/cluster/policy"
	"github.com/klkube/kl/cluster/policy/policytest"
)

// BenchmarkProgram measures what one change costs: from objects to rules in force, with the kernel's nftables in a
// network namespace of its own. The node has 110 pods, or all if there are fewer; there are 100 policies.
//
//	first    the whole table
//	pod      one pod of another node gets an address
//	policy   a policy is created
func BenchmarkProgram(b *testing.B) {
	if os.Getenv(envInside) == "" {
		if os.Getuid() != 0 {
			b.Skip("SKIPPED: NOT ROOT")
		}
		cmd := exec.CommandContext(b.Context(), "unshare", "--net", os.Args[0], "-test.run", "^$", "-test.bench", "^BenchmarkProgram$", "-test.benchtime", "5x")
		cmd.Env = append(os.Environ(), envInside+"=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		b.Skip("see above")
	}
	for _, pods := range []int{50, 500, 5000} {
		o := policytest.Large(pods, 100)
		fewerPods, fewerPolicies := o, o
		fewerPods.Pods = o.Pods[:pods-1]
		fewerPolicies.Policies = o.Policies[:99]
		b.Run(fmt.Sprintf("first/%dx100", pods), func(b *testing.B) { measure(b, policy.Objects{}, o) })
		b.Run(fmt.Sprintf("pod/%dx100", pods), func(b *testing.B) { measure(b, fewerPods, o) })
		b.Run(fmt.Sprintf("policy/%dx100", pods), func(b *testing.B) { measure(b, fewerPolicies, o) })
	}
}

// measure measures the step from one state of the cluster to another.
func measure(b *testing.B, before, after policy.Objects) {
	nft, err := knftables.New(knftables.InetFamily, TableName)
	if err != nil {
		b.Fatal(err)
	}
	cfg := Config{Node: "n0", Gateway: gateway}.withDefaults()
	table := NewTable(nft)
	var compiling time.Duration
	step := func(o policy.Objects) {
		start := time.Now()
		r := compile(policy.Compile(o, policy.Options{Gateway: gateway}), cfg)
		compiling += time.Since(start)
		if err := table.Apply(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	var cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		table.current = nil
		spent := compiling
		step(before)
		compiling = spent
		used := cpuTime(b)
		b.StartTimer()
		step(after)
		cpu += cpuTime(b) - used
	}
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N)/1000, "cpu-ms")
	b.ReportMetric(float64(compiling.Microseconds())/float64(b.N)/1000, "compile-ms")
	b.ReportMetric(float64(table.stats.Rules), "rules")
	b.ReportMetric(float64(table.stats.Elements), "elements")
}

// cpuTime returns the CPU time of this process and its children, which depends less on other load than wall-clock time.
func cpuTime(b *testing.B) (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
