package kltest

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster/kltest/holder"
)

// TestMain makes the test binary a kl, if a test asks for one: its holder is the real one, up and down note that they were
// called.
func TestMain(m *testing.M) {
	calls := os.Getenv("KL_TEST_CALLS")
	isKl := len(os.Args) > 1 && slices.Contains([]string{holder.Command, "up", "down"}, os.Args[1])
	switch {
	case calls == "" || !isKl:
		os.Exit(m.Run())
	case os.Args[1] == holder.Command:
		program, err := os.Executable()
		if err != nil {
			panic(err)
		}
		os.Exit(holder.Run(program, os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(fakeKl(calls, os.Args[1:]))
}

const kubeconfig = `apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
`

// fakeKl is up and down. What up does is in $KL_TEST_UP: write the kubeconfig; fail; claim to have started; or wait for an interrupt.
func fakeKl(calls string, args []string) int {
	note := func(line string) {
		f, err := os.OpenFile(calls, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(f, line)
		f.Close()
	}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt)
	note(strings.Join(args, " "))
	if args[0] == "down" {
		return 0
	}
	switch os.Getenv("KL_TEST_UP") {
	case "fails":
		fmt.Fprintln(os.Stderr, "no space left on device")
		return 1
	case "lies":
		return 0
	case "waits":
		<-interrupt
		note("interrupted")
		return 130
	}
	if args[4] != os.Getenv("KUBECONFIG") {
		return 9
	}
	if err := os.WriteFile(args[4], []byte(kubeconfig), 0o600); err != nil {
		panic(err)
	}
	return 0
}

// useFake makes this binary the kl that Start finds, and returns the file of its calls. TMPDIR is empty.
func useFake(t *testing.T, up string) (calls string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	calls = filepath.Join(t.TempDir(), "calls")
	t.Setenv("KL_TEST_CALLS", calls)
	t.Setenv("KL_TEST_UP", up)
	t.Setenv("KL_BINARY", self)
	t.Setenv("TMPDIR", t.TempDir())
	return calls
}

// nothingLeft reports whether no directory of a control plane is left.
func nothingLeft(t *testing.T) bool {
	t.Helper()
	left, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return len(left) == 0
}

// verbs are the first words of the lines of calls.
func verbs(t *testing.T, calls string) string {
	t.Helper()
	data, err := os.ReadFile(calls)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		verb, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		out = append(out, verb)
	}
	return strings.Join(out, " ")
}
