package cmd

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestHabits runs commands of kind, minikube and k3d in the order in which somebody might.
func TestHabits(t *testing.T) {
	m := newMachine(t)
	for _, tt := range []struct {
		line, word string // the command of kl that it is
		out        string // what is printed
	}{
		{"create cluster --name dev --wait 1m", "up", "Cluster dev is up in "},
		{"get clusters", "list", "dev "},
		{"cluster create big --agents 2", "up", "Kubernetes v1.36.3, 3 nodes (docker)"},
		{"cluster ls", "list", "big "},
		{"profile list -o json", "list", `"name": "big"`},
		{"get nodes -n big", "node list", "n3 "},
		{"get kubeconfig --name dev", "kubeconfig", "current-context: kl-dev"},
		{"load docker-image app:1 --name dev", "image load", "n1 loaded docker.io/library/app:1"},
		{"image import -c big app:1", "image load", "n3 loaded docker.io/library/app:1"},
		{"ssh -p dev -- echo hello", "node shell", "hello\n"},
		{"ssh n2 --name big -- echo there", "node shell", "there\n"},
		{"ssh -n n3 --name big -- echo third", "node shell", "third\n"},
		{"cluster stop dev", "stop", "Cluster dev is stopped."},
		{"cluster start dev", "start", "Cluster dev is up in "},
		{"cluster delete dev big", "down", "Cluster dev is removed.\nCluster big is removed.\n"},
		{"create cluster", "up", "Cluster kl is up in "},
		{"delete -p other", "down", "There is no cluster other."},
		{"delete cluster", "down", "Cluster kl is removed."},
		{"delete clusters --all", "down", "There are no clusters."},
		{"delete --all", "down", "There are no clusters."},
	} {
		stdout, stderr, code := m.run(strings.Fields(tt.line)...)
		note := `: in kl this is "kl ` + tt.word + "\"\n"
		if code != exitOK || !strings.Contains(stdout, tt.out) {
			t.Errorf("kl %s: exit code %d, want %q in\n%s%s", tt.line, code, tt.out, stdout, stderr)
		}
		if strings.Count(stderr, note) != 1 || strings.Count(stderr, "in kl this is") != 1 || strings.Contains(stdout, "in kl") {
			t.Errorf("kl %s: want %q once in\n%s", tt.line, note, stderr)
		}
	}
}

// TestHabitsThatKLLacks has one line for what has no equal.
func TestHabitsThatKLLacks(t *testing.T) {
	for line, want := range map[string]string{
		"create cluster --image kindest/node:v1.30.0": "kl create cluster: kl has no --image: a kl has one version of Kubernetes, see 'kl version'",
		"create cluster --wait soon":                  `invalid argument "soon" for "--wait" flag: want a time such as 90s, 5m or 1h30m`,
		"cluster create -p 8080:80@loadbalancer":      "kl has no --port: ports of nodes are published by kl.yaml",
		"cluster create --servers 3":                  "kl has no --servers: the control plane is one process and no node",
		"cluster create --agents -1":                  "--agents must not be negative",
		"cluster delete No_Name":                      `use name "No_Name"`,
		"get nodes -A":                                "'kl list' shows all clusters",
		"load docker-image app:1 --nodes n1":          "kl has no --nodes: images are loaded into all nodes",
		"dashboard --url":                             "kl has no --url: the dashboard is in this terminal",
		"get pods -A":                                 "'kl kubectl get …' is for objects of the cluster",
		"get pods":                                    `kl get: unknown command "pods"`,
		"create deployment web":                       "'kl kubectl create …' is for objects of the cluster",
		"delete pod web":                              "'kl kubectl delete …' is for objects of the cluster",
		"load app:1":                                  "see 'kl load --help'",
		"ssh n1 ls":                                   "a command only after --",
	} {
		stdout, stderr, code := newMachine(t).run(strings.Fields(line)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("kl %s: exit code %d, want %q in %q", line, code, want, stderr)
		}
		checkOneLine(t, stderr)
	}
}

// TestHabitsAreHidden checks that help and completion do not lead to them, and that each has help that says what it is.
func TestHabitsAreHidden(t *testing.T) {
	m, found := newMachine(t), 0
	help, completion := m.must("--help"), m.must("__complete", "")
	for _, c := range allCommands(newRootCmd(newEnv(m.env))) {
		if !hidden(c) {
			continue
		}
		found++
		if c.Hidden && c.Parent().Name() == "kl" {
			if strings.Contains(help, "\n  "+c.Name()+" ") || strings.Contains(completion, c.Name()+"\t") {
				t.Errorf("help or completion has %s", c.Name())
			}
		}
		text := m.must(append(strings.Fields(c.CommandPath())[1:], "--help")...)
		if !strings.Contains(text, "In kl this is 'kl ") && !lists(c, text) || !strings.Contains(text, "  "+c.CommandPath()) {
			t.Errorf("help of %s:\n%s", c.CommandPath(), text)
		}
	}
	if found < 20 {
		t.Errorf("%d commands of other programs", found)
	}
}

// lists reports whether a help text lists all commands below one.
func lists(c *cobra.Command, text string) bool {
	for _, sub := range c.Commands() {
		if !strings.Contains(text, "\n  "+sub.Name()+" ") {
			return false
		}
	}
	return c.HasSubCommands()
}
