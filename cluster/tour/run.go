package tour

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Target is the cluster that scenarios run on.
type Target struct {
	// Name is what the cluster is called: its name, or that of the context.
	Name string
	// Kubectl and Kl are commands and their first arguments. Without Kl it is not a cluster of this kl.
	Kubectl, Kl []string
	// Env are variables for both, as NAME=VALUE.
	Env []string
	// Policies and LoadBalancers are what a cluster of kl has on; unknown of others.
	Policies, LoadBalancers bool
	Programs                Programs
}

func (t Target) isKl() bool { return len(t.Kl) > 0 }

// Kind says what an Event tells.
type Kind string

// Kinds of events, in the order in which a scenario has them.
const (
	ScenarioStarted Kind = "scenario" // Text is the directory in which its commands run
	StepStarted     Kind = "step"     // Text is the narration, which may be empty
	CommandStarted  Kind = "command"  // Text is the command
	OutputLine      Kind = "output"
	Waiting         Kind = "waiting" // a check does not hold yet; Text says what is seen
	Checked         Kind = "check"
	ScenarioEnded   Kind = "ended"
)

// Event is what happens during a run.
type Event struct {
	Kind     Kind
	Scenario *Scenario
	Step     int // counted from 1
	Text     string
	Check    Check   // with Checked
	Result   *Result // with ScenarioEnded
}

// Runner runs scenarios on one cluster.
type Runner struct {
	Target Target
	// Dir gets a directory for each scenario. It stays if Keep is set.
	Dir string
	// Keep leaves namespaces and files in place.
	Keep bool
	// Parallel is how many scenarios run side by side; at least one.
	Parallel int
	// Pace, if set, is called before each step that has a command.
	Pace func(context.Context) error
	// Observe, if set, is called with each event, by several goroutines at once if scenarios run side by side.
	Observe func(Event)
}

// ErrSelection is the error of a run without scenarios.
var ErrSelection = errors.New("no scenario was chosen")

// Run runs the scenarios, those that have to be alone last. The error is about the run as a whole; what scenarios found is in the report.
func (r *Runner) Run(ctx context.Context, scenarios []*Scenario) (*Report, error) {
	if len(scenarios) == 0 {
		return nil, ErrSelection
	}
	has, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	report := &Report{Cluster: r.Target.Name, Started: time.Now(), Scenarios: make([]Result, len(scenarios))}
	slots := make(chan struct{}, max(r.Parallel, 1))
	var running, cleaning sync.WaitGroup
	var mu sync.Mutex
	left := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		report.Residue = append(report.Residue, what)
	}
	one := func(i int) {
		s := scenarios[i]
		run := &run{Runner: r, s: s, dir: filepath.Join(r.Dir, s.Name)}
		report.Scenarios[i] = run.scenario(ctx, has)
		cleaning.Go(func() { run.cleanUp(ctx, left) })
		r.observe(Event{Kind: ScenarioEnded, Scenario: s, Result: &report.Scenarios[i]})
	}
	for i, s := range scenarios {
		if s.Alone {
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			one(i)
			<-slots
		})
	}
	running.Wait()
	for i, s := range scenarios {
		if s.Alone {
			cleaning.Wait()
			one(i)
		}
	}
	cleaning.Wait()
	report.Seconds = time.Since(report.Started).Seconds()
	report.count()
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}
	return report, nil
}

func (r *Runner) observe(e Event) {
	if r.Observe != nil {
		r.Observe(e)
	}
}

// run is one scenario under way.
type run struct {
	*Runner
	s      *Scenario
	dir    string
	values map[string]string
	mine   bool // nothing in the cluster that is called as the scenario's things is somebody else's
}

// scenario runs the scenario, without cleaning up.
func (r *run) scenario(ctx context.Context, has facts) (result Result) {
	began, s := time.Now(), r.s
	result = Result{Name: s.Name, Title: s.Title, Feature: s.Feature, Outcome: Failed}
	defer func() { result.Seconds = time.Since(began).Seconds() }()
	if lacks := s.Needs.missing(r.Target, has); lacks != "" {
		result.Outcome, result.Reason = Skipped, "needs "+lacks
		return result
	}
	if err := r.prepare(ctx); err != nil {
		result.Reason = err.Error()
		return result
	}
	r.observe(Event{Kind: ScenarioStarted, Scenario: s, Text: r.dir})
	for i := range s.Steps {
		step, err := r.step(ctx, i+1, &s.Steps[i])
		result.Steps = append(result.Steps, step)
		if err != nil {
			result.Reason = fmt.Sprintf("step %d: %v", i+1, err)
			return result
		}
	}
	result.Outcome = Passed
	return result
}

// prepare writes the scenario's files and makes its namespaces anew.
func (r *run) prepare(ctx context.Context) error {
	var err error
	if r.values, err = r.s.values(r.Target.Name, r.Target.Programs); err != nil {
		return err
	}
	if err := r.write(); err != nil {
		return err
	}
	if err := r.removeOld(ctx); err != nil {
		return err
	}
	r.mine = true
	for _, ns := range r.s.AllNamespaces() {
		manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q,"labels":{%q:%q}}}`, ns, label, r.s.Name)
		if o := r.sh(ctx, "echo "+quote(manifest)+" | kubectl create -f -", nil, defaultTimeout); o.err != nil {
			return fmt.Errorf("make namespace %s: %w: %s", ns, o.err, ending(strings.TrimSpace(o.output)))
		}
	}
	return nil
}

// label marks namespaces of the tour; its value is the scenario.
const label = "tour.kl.dev/scenario"

// removeOld removes what a run that was killed left, and refuses namespaces that are not the tour's.
func (r *run) removeOld(ctx context.Context) error {
	o := r.sh(ctx, "kubectl get namespaces -o 'jsonpath={range .items[*]}{.metadata.name} {.metadata.labels}{\"\\n\"}{end}'", nil, defaultTimeout)
	if o.err != nil {
		return fmt.Errorf("look for namespaces: %w: %s", o.err, ending(strings.TrimSpace(o.output)))
	}
	var old []string
	for line := range strings.Lines(o.output) {
		name, labels, _ := strings.Cut(line, " ")
		if !slices.Contains(r.s.AllNamespaces(), name) {
			continue
		}
		if !strings.Contains(labels, label) {
			return fmt.Errorf("namespace %s exists and is not the tour's: rename or remove it", name)
		}
		old = append(old, name)
	}
	if len(old) == 0 {
		return nil
	}
	return r.remove(ctx, old...)
}

// remove deletes a namespace and what the scenario has outside of namespaces.
func (r *run) remove(ctx context.Context, namespaces ...string) error {
	for _, command := range r.s.Cleanup {
		r.sh(ctx, expand(command, r.values), nil, defaultTimeout) // may find nothing
	}
	o := r.sh(ctx, "kubectl delete namespace --ignore-not-found --timeout=100s "+strings.Join(namespaces, " "), nil, defaultTimeout)
	if o.err != nil {
		return fmt.Errorf("remove namespace %s: %w: %s", strings.Join(namespaces, ", "), o.err, ending(strings.TrimSpace(o.output)))
	}
	return nil
}

// write writes the scenario's files, with the values that are known.
func (r *run) write() error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	err := r.s.EachFile(func(file, text string) error {
		if file == ScenarioFile {
			return nil
		}
		to := filepath.Join(r.dir, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		return os.WriteFile(to, []byte(expand(text, r.values)), 0o600)
	})
	if err != nil {
		return fmt.Errorf("write the scenario's files: %w", err)
	}
	return os.WriteFile(filepath.Join(r.dir, environment), []byte(environmentOf(r.Target, r.values)), 0o600)
}

// cleanUp removes what the scenario made, also after ctx was canceled. What it cannot remove it tells left.
func (r *run) cleanUp(ctx context.Context, left func(string)) {
	if r.Keep {
		return
	}
	defer os.RemoveAll(r.dir) //nolint:errcheck // temporary files
	if !r.mine {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), defaultTimeout)
	defer cancel()
	if err := r.remove(ctx, r.s.AllNamespaces()...); err != nil {
		left(r.s.Name + ": " + err.Error())
	}
}

// sh runs a command of the scenario.
func (r *run) sh(ctx context.Context, command string, line func(string), timeout time.Duration) outcome {
	return sh(ctx, r.dir, command, timeout, line)
}
