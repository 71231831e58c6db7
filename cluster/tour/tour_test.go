package tour

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

func load(t *testing.T, name, text string, files ...string) (*Scenario, error) {
	t.Helper()
	dir := fstest.MapFS{ScenarioFile: {Data: []byte(text)}}
	for i := 0; i+1 < len(files); i += 2 {
		dir[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return Load(dir, name)
}

func mustLoad(t *testing.T, name, text string, files ...string) *Scenario {
	t.Helper()
	s, err := load(t, name, text, files...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBadScenarios(t *testing.T) {
	const good = "title: T\nsteps: [{run: 'true', prints: x}]\n"
	for _, tt := range []struct{ name, text, want string }{
		{"", good, `the name ""`},
		{"Upper", good, `the name "Upper"`},
		{"ok", "", "is empty"},
		{"ok", "title: [", "did not find"},
		{"ok", "- a", "cannot unmarshal"},
		{"ok", "title: T\nfoo: 1\n", "line 2: field foo not found"},
		{"ok", "title: T\n", "steps: at least one"},
		{"ok", "steps: [{run: 'true', prints: x}]\n", "title: one line"},
		{"ok", "title: T\nsteps: [{run: 'true'}]\n", "no step expects anything"},
		{"ok", "title: T\nsteps: [{prints: x}]\n", "step 1: run: a command is needed"},
		{"ok", "title: T\nsteps: [{run: a, prints: ''}]\n", "the text is empty"},
		{"ok", "title: T\nsteps: [{run: a, matches: '('}]\n", "step 1: matches"},
		{"ok", "title: T\nsteps: [{run: a, prints: x, within: -1s}]\n", "cannot be negative"},
		{"ok", "title: T\nsteps: [{run: a, prints: x, within: soon}]\n", "soon"},
		{"ok", "title: T\nsteps: [{run: 'a ${POD}', prints: x}]\n", "${POD} is not known"},
		{"ok", "title: T\nsteps: [{run: a, prints: x, save: NS}]\n", `save: "NS"`},
		{"ok", "title: T\nsteps: [{run: a, prints: x, save: low}]\n", `save: "low"`},
		{"ok", "title: T\nnamespaces: [a.b]\nsteps: [{run: a, prints: x}]\n", `the name "a.b"`},
		{"ok", good + "needs: {kubernetes: new}\n", `needs.kubernetes: "new" is not a version`},
		{"ok", good + "cleanup: ['x ${NODE}']\n", "cleanup: ${NODE} is not known"},
	} {
		_, err := load(t, tt.name, tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v; want one line with %q", tt.text, err, tt.want)
		}
	}
	if _, err := load(t, "ok", good, "pod.yaml", "node: ${NODE}"); err == nil || !strings.Contains(err.Error(), "pod.yaml: ${NODE} is not known") {
		t.Errorf("a file with an unknown name: %v", err)
	}
	if _, err := load(t, "ok", good); err != nil {
		t.Error(err)
	}
}

// fakeKubectl keeps namespaces as files below $STATE and answers what a Runner asks.
const fakeKubectl = `#!/bin/sh
echo "$*" >> "$STATE/log"
case "$*" in
"get nodes -o json") echo '{"items":[{"status":{"conditions":[{"type":"Ready","status":"True"}]}},{"spec":{"taints":[{"effect":"NoSchedule"}]},"status":{"conditions":[{"type":"Ready","status":"True"}]}}]}' ;;
"get --raw /version") echo '{"gitVersion":"v1.35.2+kl"}' ;;
"get --raw /apis") echo '{"groups":[{"versions":[{"groupVersion":"apps/v1"}]}]}' ;;
"get storageclasses -o json") echo '{"items":[{"metadata":{"name":"standard"}}]}' ;;
"get namespaces -o"*) cat "$STATE"/ns-* 2>/dev/null || true ;;
"create -f -") read -r text; name=$(echo "$text" | sed 's/.*"name":"\([^"]*\)".*/\1/'); echo "$name {$text}" > "$STATE/ns-$name" ;;
"delete namespace"*) for last; do rm -f "$STATE/ns-$last"; done ;;
*) echo "kubectl $*" ;;
esac
`

type fixture struct {
	state  string
	runner *Runner
	mu     sync.Mutex
	events []Event
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{state: t.TempDir()}
	program := filepath.Join(t.TempDir(), "kubectl")
	if err := os.WriteFile(program, []byte(fakeKubectl), 0o700); err != nil {
		t.Fatal(err)
	}
	f.runner = &Runner{
		Target: Target{Name: "fake", Kubectl: []string{program}, Env: []string{"STATE=" + f.state}, Programs: NodePrograms(), Kl: []string{"echo", "kl"}},
		Dir:    t.TempDir(), Observe: func(e Event) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.events = append(f.events, e)
		},
	}
	return f
}

func (f *fixture) run(t *testing.T, scenarios ...*Scenario) *Report {
	t.Helper()
	r, err := f.runner.Run(t.Context(), scenarios)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f *fixture) namespaces(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(f.state, "ns-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRun(t *testing.T) {
	f := newFixture(t)
	s := mustLoad(t, "first", `
title: T
namespaces: [other]
cleanup: ["kubectl delete clusterrole of ${NS}"]
steps:
- say: Says what it does.
  run: kubectl -n ${NS} apply -f pod.yaml
  prints: kubectl -n tour-first apply
- run: cat pod.yaml
  prints: 'image: kl.local/pause:1'
  matches: 'node: \$\{NODE\}'
  lacks: n7
- run: printf 'n7\n'
  matches: ^n\d$
  save: NODE
- run: cat pod.yaml; echo to ${NODE}
  prints: ['node: n7', 'to n7']
- run: exit 3
  fails: true
- run: kl status
  prints: kl status
- run: echo x >> count; wc -l < count
  matches: '[3-9]'
  within: 10s
`, "pod.yaml", "image: ${IMAGE}\nnode: ${NODE}\n")
	report := f.run(t, s)
	if report.Passed != 1 || report.Failed != 0 {
		t.Fatalf("%+v", report)
	}
	if left := f.namespaces(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if entries, _ := os.ReadDir(f.runner.Dir); len(entries) > 0 {
		t.Errorf("files are left: %v", entries)
	}
	log, err := os.ReadFile(filepath.Join(f.state, "log"))
	if err != nil || !strings.Contains(string(log), "delete clusterrole of tour-first") || !strings.Contains(string(log), "--timeout=100s tour-first tour-first-other") {
		t.Errorf("%v: the log is\n%s", err, log)
	}
	var kinds []Kind
	for _, e := range f.events[:4] {
		kinds = append(kinds, e.Kind)
	}
	if want := []Kind{ScenarioStarted, StepStarted, CommandStarted, OutputLine}; !slices.Equal(kinds, want) {
		t.Errorf("events begin with %v", kinds)
	}
}

func TestFailures(t *testing.T) {
	f := newFixture(t)
	scenario := func(name, step string) *Scenario {
		return mustLoad(t, name, "title: T\nsteps:\n- run: 'true'\n- "+step+"\n- {run: 'touch $STATE/after', prints: x}\n")
	}
	for _, tt := range []struct{ step, want string }{
		{"{run: 'echo got', prints: wanted}", `step 2: echo got: expected that it prints "wanted", but: got`},
		{"{run: 'echo got', matches: '^w'}", "it prints what matches ^w, but: got"},
		{"{run: 'echo got', lacks: got}", `it does not print "got"`},
		{"{run: 'echo why; exit 4', prints: why}", "expected that the command succeeds, but: exit status 4: why"},
		{"{run: 'echo fine', fails: true}", "the command is refused or fails, but: it succeeded: fine"},
		{"{run: 'echo ${NS}; [ -z x ]', prints: tour, within: 700ms}", "the command succeeds"},
		{"{run: 'touch n; echo x >> n; wc -l < n', matches: '[12]', holds: 5s}", "it prints what matches [12], but: 3"},
		{"{run: 'sleep 60', prints: x, timeout: 100ms}", "not done after 100ms"},
	} {
		began := time.Now()
		report := f.run(t, scenario("failing", tt.step))
		r := report.Scenarios[0]
		if report.Failed != 1 || !strings.Contains(r.Reason, tt.want) {
			t.Errorf("%s: %s %q; want %q", tt.step, r.Outcome, r.Reason, tt.want)
		}
		if time.Since(began) > 10*time.Second {
			t.Errorf("%s: took %s", tt.step, time.Since(began))
		}
		if left := f.namespaces(t); len(left) > 0 {
			t.Errorf("%s left %v", tt.step, left)
		}
	}
	if _, err := os.Stat(filepath.Join(f.state, "after")); err == nil {
		t.Error("steps after a failed one were run")
	}
}

// What the cluster lacks is said, and is no failure.
func TestNeeds(t *testing.T) {
	f := newFixture(t)
	f.runner.Target.Kl, f.runner.Target.Programs = nil, Programs{}
	s := mustLoad(t, "needy", `
title: T
needs: {kl: true, nodes: 2, kubernetes: "1.36", apis: [apps/v1, metrics.k8s.io/v1beta1], storageClasses: [standard, shared]}
steps: [{run: 'true', prints: x}]
`)
	report := f.run(t, s)
	want := "needs a cluster of kl, 2 ready nodes (the cluster has 1), Kubernetes 1.36 (the cluster has 1.35.2), the API metrics.k8s.io/v1beta1, the StorageClass shared, an image with kl's programs, given with --image: see 'kl tour image'"
	if got := report.Scenarios[0]; report.Skipped != 1 || report.Failed != 0 || got.Reason != want {
		t.Errorf("%+v", got)
	}
}

// A namespace that happens to have the scenario's name is not touched.
func TestForeignNamespace(t *testing.T) {
	f := newFixture(t)
	file := filepath.Join(f.state, "ns-tour-mine")
	if err := os.WriteFile(file, []byte("tour-mine {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustLoad(t, "mine", "title: T\ncleanup: [touch $STATE/cleaned]\nsteps: [{run: 'true', prints: x}]\n")
	r := f.run(t, s).Scenarios[0]
	if r.Outcome != Failed || !strings.Contains(r.Reason, "namespace tour-mine exists and is not the tour's") {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("the namespace was removed")
	}
	if _, err := os.Stat(filepath.Join(f.state, "cleaned")); err == nil {
		t.Error("the cleanup commands were run")
	}
}

// What a killed run left is removed first.
func TestLeftovers(t *testing.T) {
	f := newFixture(t)
	if err := os.WriteFile(filepath.Join(f.state, "ns-tour-again"), []byte(`tour-again {"tour.kl.dev/scenario":"again"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustLoad(t, "again", "title: T\nsteps: [{run: 'ls $STATE', prints: ns-tour-again}]\n")
	if r := f.run(t, s).Scenarios[0]; r.Outcome != Passed {
		t.Errorf("%+v", r)
	}
	log, err := os.ReadFile(filepath.Join(f.state, "log"))
	if err != nil || strings.Count(string(log), "delete namespace") != 2 {
		t.Errorf("%v: want two removals:\n%s", err, log)
	}
}

func TestInterrupted(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	f.runner.Observe = func(e Event) {
		if e.Kind == OutputLine {
			cancel(stop)
		}
	}
	s := mustLoad(t, "long", "title: T\nsteps: [{run: 'echo begun; sleep 100 & wait', prints: x}]\n")
	began := time.Now()
	report, err := f.runner.Run(ctx, []*Scenario{s})
	if !errors.Is(err, stop) || report.Failed != 1 || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %s: %+v", err, time.Since(began), report)
	}
	if left := f.namespaces(t); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// Scenarios run side by side, but one that has to be alone does not.
func TestParallel(t *testing.T) {
	f := newFixture(t)
	f.runner.Parallel = 2
	meet := func(name, other string) *Scenario {
		return mustLoad(t, name, "title: T\nsteps: [{run: 'touch $STATE/"+name+"; ls $STATE', prints: "+other+", within: 10s}]\n")
	}
	alone := mustLoad(t, "alone", "title: T\nalone: true\nsteps: [{run: 'ls $STATE', lacks: ns-tour-left, prints: left}]\n")
	report := f.run(t, alone, meet("left", "right"), meet("right", "left"))
	if report.Passed != 3 {
		t.Errorf("%+v", report)
	}
	if report.Scenarios[0].Name != "alone" {
		t.Error("the report is not in the order that was asked for")
	}
}

func TestJUnit(t *testing.T) {
	r := Report{Cluster: "kl", Seconds: 1.5, Scenarios: []Result{
		{Name: "a", Outcome: Passed, Steps: []StepResult{{Say: "Do <it>", Command: "true", Checks: []Check{{Expected: "the command succeeds", Held: true}}}}},
		{Name: "b", Outcome: Failed, Reason: "step 1: no\nmore"},
		{Name: "c", Outcome: Skipped, Reason: "needs metrics"},
	}}
	r.count()
	var b bytes.Buffer
	if err := r.WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Cases    []struct {
			Failure *struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
			Skipped *struct{} `xml:"skipped"`
			Output  string    `xml:"system-out"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(b.Bytes(), &suite); err != nil {
		t.Fatal(err)
	}
	if suite.Tests != 3 || suite.Failures != 1 || suite.Skipped != 1 || suite.Cases[1].Failure.Message != "step 1: no" || suite.Cases[2].Skipped == nil ||
		!strings.Contains(suite.Cases[0].Output, "Do <it>\n$ true\n  ok: the command succeeds") {
		t.Errorf("%s", b.Bytes())
	}
}

// A pod with volumes of its own adds those of the programs, on clusters where there are some and where there are none.
func TestItems(t *testing.T) {
	for list, want := range map[string]string{"[]": "", "[{name: a}]": "{name: a}", "[{name: a}, {b: [c]}]": "{name: a}, {b: [c]}"} {
		if got := items(list); got != want {
			t.Errorf("items of %s: %q, want %q", list, got, want)
		}
	}
}

// A certificate is made for scenarios that use one, and no others.
func TestCertificate(t *testing.T) {
	const steps = "title: T\nsteps: [{run: 'true', prints: x}]\n"
	for text, want := range map[string]bool{"cert: ${TLS_CERT}": true, "cert: none": false} {
		values, err := mustLoad(t, "tls", steps, "secret.yaml", text).values("kl", NodePrograms())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"TLS_CA", "TLS_CERT", "TLS_KEY"} {
			if got := values[name] != ""; got != want {
				t.Errorf("%q: %s is there: %t", text, name, got)
			}
		}
	}
}
