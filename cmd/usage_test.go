package cmd

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// checkGolden compares got with testdata/<test>.golden; -update writes that file.
func checkGolden(t *testing.T, got string) {
	t.Helper()
	path := filepath.Join("testdata", t.Name()+".golden")
	if flag.Lookup("update").Value.String() == "true" {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestHelp(t *testing.T) {
	for _, c := range allCommands(newRootCmd(newEnv(newMachine(t).env))) {
		t.Run(strings.ReplaceAll(c.CommandPath(), " ", "-"), func(t *testing.T) {
			if c.Example == "" {
				t.Error("no example")
			}
			if hidden(c) {
				return // TestHabitsHaveHelp reads it
			}
			if c.Parent() != nil && c.Parent().Name() == "completion" {
				return // cobra writes it
			}
			checkGolden(t, newMachine(t).must(append(strings.Fields(c.CommandPath())[1:], "--help")...))
		})
	}
}

// TestHelpGroups checks that help lists every command of kl in a group.
func TestHelpGroups(t *testing.T) {
	for _, c := range newRootCmd(newEnv(newMachine(t).env)).Commands() {
		if c.GroupID == "" && c.Name() != "help" && !c.Hidden {
			t.Errorf("%s is in no group", c.Name())
		}
	}
}

func TestUsageErrors(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"run"}, "kl run: want a command after --"},
		{[]string{"run", "true"}, "for example 'kl run --nodes 2 -- make test'"},
		{[]string{"run", "--"}, "want a command after --"},
		{[]string{"run", "now", "--", "true"}, "want a command after --"},
		{[]string{"run", "--nodes", "-1", "--", "true"}, "--nodes must not be negative"},
		{[]string{"run", "--ui", "--", "true"}, "--ui needs the terminal"},
		{[]string{"run", "--restart", "always", "--", "true"}, "use 'kl up'"},
		{[]string{"run", "--artifacts", "/dev/null", "--", "true"}, `--artifacts "/dev/null" is not a directory`},
		{[]string{"run", "-f", "missing.yaml", "--", "true"}, "missing.yaml"},
		{[]string{"run", "--driver", "podman", "--", "true"}, `unknown driver "podman"`},
		{[]string{"upp"}, `unknown command "upp" for "kl"`},
		{[]string{"up", "now"}, `unknown command "now" for "kl up"`},
		{[]string{"up", "--nods", "2"}, "unknown flag: --nods"},
		{[]string{"up", "--nodes", "two"}, `invalid argument "two" for "--nodes" flag`},
		{[]string{"up", "--nodes", "-1"}, "--nodes must not be negative"},
		{[]string{"up", "--driver", "podman"}, `unknown driver "podman": use auto, docker`},
		{[]string{"up", "-o", "yaml"}, "use text or json"},
		{[]string{"up", "--ui", "-o", "json"}, "--ui and -o json cannot be used together"},
		{[]string{"list", "-o", "wide"}, "use text or json"},
		{[]string{"down", "--all", "--name", "x"}, "--all and --name cannot be used together"},
		{[]string{"kubeconfig", "--merge", "--print"}, "--merge and --print cannot be used together"},
		{[]string{"secrets", "status", "now"}, `unknown command "now" for "kl secrets status"`},
		{[]string{"secrets", "rotat"}, `unknown command "rotat" for "kl secrets"`},
		{[]string{"secrets", "decrypt", "-o", "yaml"}, "use text or json"},
		{[]string{"secrets", "encrypt", "--provider", "rot13"}, `"rot13" is not known; use one of secretbox, aescbc, aesgcm, kms, none`},
		{[]string{"secrets", "encrypt", "--provider", "none"}, "use 'kl secrets decrypt'"},
		{[]string{"secrets", "encrypt", "--resource", "secrets,secret"}, `"secret" is not known; did you mean "secrets"?`},
		{[]string{"secrets", "encrypt", "--kms-name", "x"}, `"" is not a socket`},
		{[]string{"secrets", "encrypt", "--provider", "aesgcm", "--kms-name", "x"}, "only provider kms has a plugin"},
		{[]string{"logs", "a", "b"}, "accepts at most 1 arg(s), received 2"},
		{[]string{"node", "shell"}, "want one node"},
		{[]string{"node", "shell", "n1", "ls"}, "a command only after --"},
		{[]string{"node", "shel"}, `unknown command "shel" for "kl node"`},
		{[]string{"image", "load"}, "requires at least 1 arg(s)"},
		{[]string{"kubectl", "--name"}, "flag needs an argument: --name"},
		{[]string{"kubectl", "--name", "No_Name", "get", "pods"}, `use name "No_Name": not a valid cluster name`},
		{[]string{"kubectl", "get", "pods", "--name", "big"}, "kubectl get has no flag --name"},
		{[]string{"kubectl", "-n", "dev", "logs", "--name=big", "web"}, "put the name of a cluster first: kl kubectl --name big logs"},
		{[]string{"crictl", "--node"}, "flag needs an argument: --node"},
		{[]string{"crictl", "--node=", "ps"}, "--node is empty"},
		{[]string{"crictl", "--node", "n1", "--name", "No_Name", "ps"}, `use name "No_Name": not a valid cluster name`},
		{[]string{"cri", "check", "--focus", "("}, `--focus "(" is not a regular expression`},
		{[]string{"cri", "check", "-o", "yaml"}, `unknown format "yaml": use text, json or junit`},
		{[]string{"crictl", "ps", "--node", "n1"}, "crictl has no flag --node"},
		{[]string{"node", "add", "Big"}, `"Big"`},
		{[]string{"node", "add", "--count", "0"}, "--count must be 1 or more"},
		{[]string{"node", "add", "--count", "2", "n7"}, "--count is 2, but the number of names is 1"},
		{[]string{"scale", "real", "3"}, "want 'simulated' and a number"},
		{[]string{"scale", "simulated", "many"}, "want 'simulated' and a number"},
		{[]string{"expose", "deployment/web"}, `"deployment/web" is not a Service: use svc/NAME`},
		{[]string{"expose", "svc/"}, `"svc/" is not a Service`},
		{[]string{"expose", "web", "--port", "http"}, `--port http: "http" is not a port from 1 to 65535`},
		{[]string{"expose", "web", "--port", "70000:80"}, `"70000" is not a port from 1 to 65535`},
		{[]string{"expose", "web", "--port", "8080:"}, "the port of the Service is missing after the colon"},
		{[]string{"policy", "explain", "web", "--port", "80"}, "--port needs the other end: use --to or --from"},
		{[]string{"policy", "explain", "web", "--to", "a", "--from", "b"}, "--to and --from cannot be used together"},
		{[]string{"top", "services"}, `invalid argument "services" for "kl top"`},
		{[]string{"top", "--rows", "0"}, "--rows must be at least 1"},
		{[]string{"ui", "--screen", "tv"}, `unknown screen "tv": use overview`},
		{[]string{"ui", "--snapshot", "overview", "--size", "big"}, "big"},
		{[]string{"ui", "--snapshot", "overview", "-o", "png"}, `unknown format "png": use ansi, text or svg`},
		{[]string{"watch", "rollout", "job/web"}, `"job/web" has no rollout: use deploy/NAME, sts/NAME or ds/NAME`},
		{[]string{"config", "view", "-f", "missing.yaml"}, "missing.yaml"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			stdout, stderr, code := newMachine(t).run(tt.args...)
			if code != exitUsage || !strings.Contains(stderr, tt.want) || stdout != "" {
				t.Errorf("exit code %d, want %d and %q in %q", code, exitUsage, tt.want, stderr)
			}
			checkOneLine(t, stderr)
		})
	}
}

// checkOneLine checks that an error is one line, which may be followed by a hint.
func checkOneLine(t *testing.T, stderr string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	if !strings.HasPrefix(lines[0], "kl: ") || len(lines) > 2 || len(lines) == 2 && !strings.HasPrefix(lines[1], "    ") {
		t.Errorf("want one line and at most one hint:\n%s", stderr)
	}
}

// arguments are those of a command: some that it accepts, if it needs any, and whether it takes any number of them.
type arguments struct {
	valid []string
	any   bool
}

// argumentsOf returns the arguments of the commands that take some; all others take none, or optional ones.
func argumentsOf(path string) arguments {
	node := arguments{[]string{"n1"}, true}
	return map[string]arguments{
		"kl node stop": node, "kl node start": node, "kl node kill": node, "kl node partition": node, "kl node heal": node,
		"kl node remove": node, "kl node add": {nil, true}, "kl node shell": {[]string{"n1"}, false},
		"kl bundle create": {[]string{"-o", "b.tar.zst", "127.0.0.1:1/unknown:1"}, true}, "kl bundle list": {[]string{"b.tar.zst"}, false},
		"kl image load": {[]string{"app:1"}, true}, "kl image rm": {[]string{"app:1"}, true}, "kl image pull": {[]string{"app:1"}, true}, "kl image push": {[]string{"unknown:1"}, false}, "kl image refresh": {nil, true}, "kl scale": {[]string{"simulated", "1"}, false}, "kl expose": {[]string{"web"}, false},
		"kl run": {[]string{"--", "true"}, true}, "kl load docker-image": {[]string{"app:1"}, true}, "kl load image-archive": {[]string{"app.tar"}, true},
		"kl image import": {[]string{"app:1"}, true}, "kl delete clusters": {nil, true}, "kl cluster delete": {nil, true},
		"kl tour run": {[]string{"crd"}, true}, "kl tour show": {[]string{"crd"}, false},
		"kl policy explain": {[]string{"web"}, false}, "kl watch rollout": {[]string{"web"}, false}, "kl help": {nil, true}, "kl dev": {nil, true},
	}[path]
}

// TestBadInput checks that every command rejects a flag that it does not have, missing or superfluous arguments and an
// impossible cluster name with one line, at most one hint, and exit code 2.
func TestBadInput(t *testing.T) {
	for _, c := range allCommands(newRootCmd(newEnv(newMachine(t).env))) {
		path := c.CommandPath()
		if path == "kl kubectl" || path == "kl crictl" {
			continue // flags and arguments are those of the program
		}
		t.Run(strings.ReplaceAll(path, " ", "-"), func(t *testing.T) {
			command, takes := strings.Fields(path)[1:], argumentsOf(path)
			cases := map[string][]string{"unknown flag": {"--no-such-flag"}}
			if takes.valid != nil {
				cases["missing argument"] = nil
			}
			if !takes.any {
				cases["superfluous argument"] = append(slices.Clone(takes.valid), "a", "b")
			}
			if path != "kl help" && c.Parent() != nil && c.Parent().Name() != "completion" { // cobra's do not look at the name
				cases["cluster name"] = append([]string{"--name", "No_Name"}, takes.valid...)
			}
			for name, args := range cases {
				args = append(slices.Clone(command), args...)
				stdout, stderr, code := newMachine(t).run(args...)
				if code != exitUsage || stdout != "" {
					t.Errorf("%s: kl %s: exit code %d, want %d\n%s%s", name, strings.Join(args, " "), code, exitUsage, stdout, stderr)
				}
				if name == "cluster name" && !strings.Contains(stderr, "No_Name") {
					t.Errorf("%s: the name is not mentioned: %s", name, stderr)
				}
				checkOneLine(t, stderr)
			}
		})
	}
}

// hidden reports whether help does not lead to a command.
func hidden(c *cobra.Command) bool { return c.Hidden || c.HasParent() && hidden(c.Parent()) }

// allCommands returns a command and all commands below it.
func allCommands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		all = append(all, allCommands(sub)...)
	}
	return all
}

func TestNoCluster(t *testing.T) {
	for _, args := range [][]string{
		{"status"}, {"logs"}, {"kubeconfig"}, {"kubeconfig", "--merge"}, {"kubectl", "get", "pods"},
		{"node", "list"}, {"node", "shell", "n1"}, {"image", "load", "app:1"}, {"crictl", "ps"}, {"cri", "check"},
		{"secrets", "status"}, {"secrets", "encrypt"}, {"secrets", "rotate"}, {"secrets", "decrypt"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			_, stderr, code := newMachine(t).run(args...)
			want := "kl: find cluster kl: file does not exist\n    'kl list' shows the clusters there are; 'kl up --name kl' makes it\n"
			if code != exitFailed || stderr != want {
				t.Errorf("exit code %d, %q", code, stderr)
			}
		})
	}
}
