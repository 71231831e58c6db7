package quiet_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	_ "github.com/charmbracelet/bubbletea" // asks the terminal while it is loaded, unless TERM is dumb

	"github.com/klkube/kl/ui/quiet"
)

// TestMain lets the test run itself as a program that prints $TERM as it is when main begins, and after Restore.
func TestMain(m *testing.M) {
	if os.Getenv("QUIET_TEST_PRINT") == "" {
		m.Run()
		return
	}
	printTerm()
	quiet.Restore()
	printTerm()
}

func printTerm() {
	value, set := os.LookupEnv("TERM")
	fmt.Fprintf(os.Stdout, "%q %v\n", value, set)
}

// program runs the test as that program with more environment, and returns its output and what the runtime traced.
func program(t *testing.T, env ...string) (out, trace string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	clean := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "TERM=") })
	cmd.Env = append(append(clean, "QUIET_TEST_PRINT=1"), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return string(text), stderr.String()
}

func TestRestore(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  []string
		want string
	}{
		{"a terminal", []string{"TERM=xterm-256color"}, "\"dumb\" true\n\"xterm-256color\" true\n"},
		{"an empty TERM", []string{"TERM="}, "\"dumb\" true\n\"\" true\n"},
		{"no terminal", nil, "\"\" false\n\"\" false\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := program(t, tt.env...); got != tt.want {
				t.Errorf("$TERM at the start of main and after Restore:\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// TestBeforeBubbletea: the package only works if it is initialized before the packages that ask the terminal.
func TestBeforeBubbletea(t *testing.T) {
	_, trace := program(t, "TERM=xterm", "GODEBUG=inittrace=1")
	var order []string
	for line := range strings.Lines(trace) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "init" {
			order = append(order, fields[1])
		}
	}
	at := slices.Index(order, "github.com/klkube/kl/ui/quiet")
	if at < 0 {
		t.Fatalf("the runtime did not trace the initialization:\n%s", trace)
	}
	for _, later := range []string{"github.com/muesli/termenv", "github.com/charmbracelet/bubbletea"} {
		if i := slices.Index(order, later); i < at {
			t.Errorf("%s is initialized as number %d, this package as number %d", later, i, at)
		}
	}
}
