//go:build e2e

package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// machineCommand is "machine save" and "machine same": the second fails if there are more or fewer containers, networks,
// volumes, processes with this KL_HOME, mounts, network links or nftables tables on the machine than there were at the
// first. Those of other clusters and scripts do not count, as the machine may be in use. Set KL_E2E_CROWDED if clusters of the embedded
// driver are created and removed during the test.
func machineCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: machine save|same")
	}
	path := filepath.Join(ts.Getenv("WORK"), ".machine")
	now := machine(ts.Getenv("CLUSTER"), ts.Getenv("KL_HOME"))
	switch args[0] {
	case "save":
		ts.Check(os.WriteFile(path, []byte(strings.Join(now, "\n")), 0o600))
	case "same":
		data, err := os.ReadFile(path)
		ts.Check(err)
		before := strings.Split(string(data), "\n")
		for _, line := range now {
			if !slices.Contains(before, line) {
				ts.Logf("new: %s", line)
				err = os.ErrExist
			}
		}
		for _, line := range before {
			if !slices.Contains(now, line) && line != "" {
				ts.Logf("gone: %s", line)
				err = os.ErrNotExist
			}
		}
		if err != nil {
			ts.Fatalf("the machine is not as it was")
		}
	default:
		ts.Fatalf("usage: machine save|same")
	}
}

// machine lists everything that kl could leave behind.
func machine(cluster, home string) []string {
	found := map[string]bool{}
	add := func(kind string, lines []string) {
		for _, line := range lines {
			if line != "" {
				found[kind+" "+line] = true
			}
		}
	}
	drop := func(lines []string) []string {
		return slices.DeleteFunc(lines, func(line string) bool { return ofAnother(line, cluster) })
	}
	add("container", drop(output("docker", "ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.Labels}}")))
	add("network", drop(output("docker", "network", "ls", "--no-trunc", "--format", "{{.Name}} {{.Labels}}")))
	volumes := output("docker", "volume", "ls", "--format", "{{.Name}} {{.Labels}}")
	for _, line := range output("docker", "ps", "-aq", "--filter", "label=dev.kl.cluster") {
		for _, other := range output("docker", "inspect", "-f", `{{index .Config.Labels "dev.kl.cluster"}}{{range .Mounts}} {{.Name}}{{end}}`, line) {
			names := strings.Fields(other)
			if len(names) > 1 && names[0] != cluster {
				volumes = slices.DeleteFunc(volumes, func(v string) bool {
					return slices.ContainsFunc(names[1:], func(n string) bool { return strings.HasPrefix(v, n) })
				})
			}
		}
	}
	add("volume", drop(volumes))
	add("process", processesOf(home))
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, home+"/") || strings.Contains(line, cluster) {
			add("mount", []string{strings.TrimSpace(line)})
		}
	}
	// Docker creates and removes these for its nodes, and their names do not contain the cluster's.
	if os.Getenv("KL_DRIVER") == "embedded" && os.Getenv("KL_E2E_CROWDED") == "" {
		for _, pattern := range []string{"/sys/fs/cgroup/kl-*", "/sys/fs/cgroup/*/kl-*", "/run/kl/*"} {
			paths, _ := filepath.Glob(pattern)
			add("path", paths)
		}
		links, _ := filepath.Glob("/sys/class/net/kl*")
		add("link", links)
		add("nftables", slices.DeleteFunc(output("nft", "list", "tables"), func(s string) bool { return !strings.Contains(s, "kl") }))
	}
	return slices.Sorted(maps.Keys(found))
}

// ofAnother tells from the labels in a line that docker printed whether something belongs to another cluster. What a script makes with
// docker itself has the label kl.test=$CLUSTER, also the containers that `docker build` has for a moment.
func ofAnother(line, cluster string) bool {
	for _, label := range []string{"dev.kl.cluster=", "kl.test="} {
		if _, of, found := strings.Cut(line, label); found && !strings.HasPrefix(of, cluster) {
			return true
		}
	}
	return false
}

// output returns the lines that a program prints; none if it cannot be run or fails.
func output(name string, args ...string) []string {
	text, err := exec.Command(name, args...).Output()
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}
