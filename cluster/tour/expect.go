package tour

import (
	"fmt"
	"regexp"
	"strings"
)

// Check is one expectation and what became of it.
type Check struct {
	// Expected says what was expected, for people.
	Expected string `json:"expected"`
	Held     bool   `json:"held"`
	// Seen is what was seen instead.
	Seen string `json:"seen,omitempty"`
}

// outcome is how a command ended.
type outcome struct {
	output string
	err    error // nil if it exited with status 0
}

// checks judges a command. One that succeeds as it should is not worth a check of its own.
func (s *Step) checks(o outcome, values map[string]string) []Check {
	var all []Check
	add := func(held bool, seen, format string, args ...any) {
		c := Check{Expected: fmt.Sprintf(format, args...), Held: held}
		if !held {
			c.Seen = seen
		}
		all = append(all, c)
	}
	output := strings.TrimSpace(o.output)
	seen := ending(output)
	if s.Fails {
		add(o.err != nil, "it succeeded: "+seen, "the command is refused or fails")
	} else if o.err != nil {
		add(false, fmt.Sprintf("%v: %s", o.err, seen), "the command succeeds")
	}
	for _, text := range s.Prints {
		text = expand(text, values)
		add(strings.Contains(output, text), seen, "it prints %q", text)
	}
	if s.Matches != "" {
		pattern := expand(s.Matches, values)
		re, err := regexp.Compile(pattern)
		held := err == nil && re.MatchString(output)
		add(held, seen, "it prints what matches %s", pattern)
	}
	for _, text := range s.Lacks {
		text = expand(text, values)
		add(!strings.Contains(output, text), seen, "it does not print %q", text)
	}
	return all
}

// hold reports whether all checks hold.
func hold(checks []Check) bool {
	for _, c := range checks {
		if !c.Held {
			return false
		}
	}
	return true
}

// ending is the end of an output, for a message.
func ending(output string) string {
	const most = 600
	switch {
	case output == "":
		return "no output"
	case len(output) > most:
		return "…" + strings.ToValidUTF8(output[len(output)-most:], "")
	}
	return output
}
