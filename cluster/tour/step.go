package tour

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const (
	// defaultTimeout is the time that a command has.
	defaultTimeout = 2 * time.Minute
	// again is the time between two attempts.
	again = 300 * time.Millisecond
)

// step runs a step until its checks hold or its time is up.
func (r *run) step(ctx context.Context, number int, s *Step) (StepResult, error) {
	result := StepResult{Say: strings.TrimSpace(expand(s.Say, r.values)), Command: strings.TrimSpace(expand(s.Run, r.values))}
	event := func(kind Kind, text string) Event {
		return Event{Kind: kind, Scenario: r.s, Step: number, Text: text}
	}
	r.observe(event(StepStarted, result.Say))
	if result.Command == "" {
		return result, ctx.Err()
	}
	if r.Pace != nil {
		if err := r.Pace(ctx); err != nil {
			return result, err
		}
	}
	began := time.Now()
	r.observe(event(CommandStarted, result.Command))
	output := func(line string) { r.observe(event(OutputLine, line)) }
	o, err := r.attempts(ctx, s, result.Command, &result.Checks, output, func(seen string) { r.observe(event(Waiting, seen)) })
	result.Seconds = time.Since(began).Seconds()
	for _, c := range result.Checks {
		e := event(Checked, c.Expected)
		e.Check = c
		r.observe(e)
	}
	if err != nil {
		return result, err
	}
	for _, c := range result.Checks {
		if !c.Held {
			return result, fmt.Errorf("%s: expected that %s, but: %s", firstLine(result.Command), c.Expected, c.Seen)
		}
	}
	if s.Save != "" {
		r.values[s.Save] = strings.TrimSpace(o.output)
		return result, r.write()
	}
	return result, nil
}

// attempts runs a command until its checks hold, and then for as long as they have to hold. Lines of output are shown while the
// command runs, or, if it may run several times, those of the last one.
func (r *run) attempts(ctx context.Context, s *Step, command string, checks *[]Check, show, waiting func(string)) (outcome, error) {
	timeout := s.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	var live func(string)
	if s.Within == 0 && s.Holds == 0 {
		live = show
	}
	deadline := time.Now().Add(s.Within)
	var since time.Time // when the checks began to hold
	for {
		o := r.sh(ctx, command, live, timeout)
		if ctx.Err() != nil {
			return o, context.Cause(ctx)
		}
		*checks = s.checks(o, r.values)
		held := hold(*checks)
		if held && since.IsZero() {
			since = time.Now()
		}
		done := held && time.Since(since) >= s.Holds
		if !held && (!since.IsZero() || !time.Now().Before(deadline)) {
			done = true // it stopped holding, or did not hold in time
		}
		if done {
			if live == nil {
				for line := range strings.Lines(o.output) {
					show(strings.TrimRight(line, "\n"))
				}
			}
			return o, nil
		}
		if !held {
			waiting(lastLine(o.output))
		}
		select {
		case <-ctx.Done():
			return o, context.Cause(ctx)
		case <-time.After(again):
		}
	}
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, "\n")+1:]
}

// kubectl runs kubectl outside of any scenario, and returns its output; with an error, its messages too.
func (r *Runner) kubectl(ctx context.Context, args ...string) (string, error) {
	argv := slices.Concat(r.Target.Kubectl, args)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), r.Target.Env...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out) + string(exit.Stderr), err
	}
	return string(out), err
}

// Names are the names of scenarios, sorted.
func Names(all []*Scenario) []string {
	names := map[string]bool{}
	for _, s := range all {
		names[s.Name] = true
	}
	return slices.Sorted(maps.Keys(names))
}
