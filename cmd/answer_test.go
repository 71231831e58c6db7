package cmd

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// answerTime is how long a command may take to say what is wrong with its input, on a busy machine.
const answerTime = 30 * time.Second

// insides are words of a program's insides, which no answer to a person contains.
var insides = regexp.MustCompile(`goroutine \d|\bpanic\b|runtime error|reflect\.|\bGo (value|struct)|cannot unmarshal|(^|[^.])(json|yaml): |strconv\.|archive/tar|%!|0xc0`)

// answered is what a command has printed, and its exit code.
type answered struct {
	stdout, stderr string
	code           int
}

// answer runs a command with bad input. It must end in time, and say what is wrong in lines that a person can read, the first of
// which names the input unless that is empty.
func (m *machine) answer(what, input, stdin string, codes []int, args ...string) (a answered) {
	m.t.Helper()
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		a.stdout, a.stderr, a.code = m.runWith(stdin, args...)
	}()
	select {
	case p := <-done:
		if p != nil {
			m.t.Errorf("%s: kl %.300q: panic: %v", what, args, p)
			return a
		}
	case <-time.After(answerTime):
		m.t.Fatalf("%s: kl %.300q: no answer within %s", what, args, answerTime)
	}
	if problem := wrongAnswer(input, a.stderr, a.code, codes); problem != "" {
		m.t.Errorf("%s: kl %.300q: %s\nexit code %d, stdout %.300q, stderr:\n%.3000s", what, args, problem, a.code, a.stdout, a.stderr)
	}
	return a
}

// wrongAnswer returns what is wrong with an answer.
func wrongAnswer(input, stderr string, code int, codes []int) string {
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	found := false
	for _, c := range codes {
		found = found || c == code
	}
	switch {
	case !found:
		return fmt.Sprintf("the exit code is not in %v", codes)
	case code != exitOK && !strings.Contains(stderr, "kl: "):
		return "no error is printed"
	case stderr != "" && !strings.Contains(stderr, input):
		return fmt.Sprintf("%q is not named", input)
	case insides.MatchString(stderr):
		return fmt.Sprintf("it tells of the program's insides: %q", insides.FindString(stderr))
	}
	for _, line := range lines {
		switch {
		case strings.ContainsFunc(line, func(r rune) bool { return !strconv.IsPrint(r) && r != '\t' }):
			return "it has characters that cannot be printed"
		case len(line) > 5000:
			return fmt.Sprintf("it has a line of %d characters", len(line))
		}
	}
	return ""
}

// withCluster returns a machine on which a cluster kl runs.
func withCluster(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.must("up")
	return m
}
