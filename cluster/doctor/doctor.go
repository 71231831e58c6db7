// Package doctor checks whether the machine can run clusters, and says what to do about each problem.
//
// Every check is a function of a [System], which is the real machine or, in tests, a directory that looks like one.
package doctor

import (
	"context"
	"sync"
	"time"
)

// Level is the outcome of a check.
type Level string

// The levels, from good to bad.
const (
	OK   Level = "ok"
	Warn Level = "warn" // a cluster starts, but something will be slow, small or missing
	Fail Level = "fail" // no cluster will start
)

// Result is what one check found.
type Result struct {
	Name   string `json:"name"`
	Level  Level  `json:"level"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"` // what to do; empty if OK
}

// Check is one check of the machine.
type Check struct {
	Name  string
	Cheap bool // takes milliseconds, so kl up runs it as well
	Nodes bool // matters only for real nodes
	Run   func(ctx context.Context, s System) Result
}

// checkTimeout bounds one check: an engine that hangs is a finding, not a reason to hang.
const checkTimeout = 5 * time.Second

// Run runs all checks side by side and returns the results in the order of the checks.
func Run(ctx context.Context, s System, checks []Check) []Result {
	results := make([]Result, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, checkTimeout)
			defer cancel()
			r := c.Run(ctx, s)
			r.Name = c.Name
			results[i] = r
		})
	}
	wg.Wait()
	return results
}

// All returns every check, in the order of the report.
func All() []Check {
	return []Check{
		{Name: "engine", Nodes: true, Run: engine},
		{Name: "kernel", Nodes: true, Cheap: true, Run: kernel},
		{Name: "cgroups", Nodes: true, Cheap: true, Run: cgroups},
		{Name: "inotify", Nodes: true, Cheap: true, Run: inotify},
		{Name: "files", Cheap: true, Run: openFiles},
		{Name: "disk", Cheap: true, Run: disk},
		{Name: "memory", Cheap: true, Run: memory},
		{Name: "subnets", Nodes: true, Cheap: true, Run: subnets},
		{Name: "sysctls", Nodes: true, Run: forwarding},
		{Name: "orphans", Nodes: true, Run: orphans},
		{Name: "ports", Cheap: true, Run: ports},
		{Name: "sockets", Cheap: true, Run: socketPath},
		{Name: "clock", Cheap: true, Run: clock},
	}
}

// Cheap returns the checks that kl up runs before it starts a cluster of so many real nodes.
func Cheap(checks []Check, nodes int) []Check {
	var out []Check
	for _, c := range checks {
		if c.Cheap && (nodes > 0 || !c.Nodes) {
			out = append(out, c)
		}
	}
	return out
}

// Worst is the worst level of the results; OK if there are none.
func Worst(results []Result) Level {
	worst := OK
	for _, r := range results {
		if r.Level == Fail || r.Level == Warn && worst == OK {
			worst = r.Level
		}
	}
	return worst
}
