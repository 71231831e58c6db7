package cmd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// oddTexts are values that hardly any flag can have.
var oddTexts = []string{"", " ", "\x1b[31m", "a\nb", "\u202e", "../..", "/etc/passwd", "a b", "名前", "\xff\xfe", "%s%n", "-", "{{.}}", strings.Repeat("x", 20_000)}

// wrongFor are values that a flag of a type cannot have.
func wrongFor(f *pflag.Flag) []string {
	switch f.Value.Type() {
	case "bool":
		return append([]string{"maybe", "2", "yes!", "TRUE1"}, oddTexts...)
	case "int":
		return append([]string{"two", "1.5", "0x", "1e3", "99999999999999999999", "-99999999999999999999", "1_", "+"}, oddTexts...)
	case "duration":
		return append([]string{"5", "five", "1x", "1h-", "99999999999h", "1e3s", ".s"}, oddTexts...)
	case "format":
		return append([]string{"yaml", "JSON", "text,json", "wide"}, oddTexts...)
	}
	return nil
}

// wrongTexts are values that flags which take text cannot have, by flag.
func wrongTexts() map[string][]string {
	sizes := []string{"many", "-1", "0", "1Q", "1e400", "Inf", "NaN", "0x10", "1 Gi", "1Gi1"}
	ports := []string{"http", "0", "-1", "65536", "99999999999999999999", "8080:", ":", "1:2:3", "8080:0", "8080:65536", "127.0.0.1:80:80:80", "80/"}
	return map[string][]string{
		"kl --name":             {"No_Name", "-a", "a-", "a.b", "ä", strings.Repeat("x", 33), "kl/x", "KL", "a:b", "*"},
		"kl up --driver":        {"podman", "Docker", "docker,embedded", "no"},
		"kl up --restart":       {"maybe", "Always", "yes", "on-failure"},
		"kl up --file":          {"missing.yaml", "no/such/dir/kl.yaml", "kl.yaml/", "/etc"},
		"kl up --timeline":      {"", "start.png", "svg", "start.svg.txt", "no/such/dir/start.svg", "/etc"},
		"kl config view --file": {"missing.yaml", "no/such/dir/kl.yaml", "kl.yaml/", "/etc"},
		"kl node add --cpus":    sizes, "kl node add --memory": sizes,
		"kl node add --label":  {"novalue", "=v", "a b=c", "k=" + strings.Repeat("x", 64), "/k=v", "k=v w", "node-role.kubernetes.io/=/"},
		"kl node add --taint":  {"novalue", "k=v", "k:Never", ":NoSchedule", "a b:NoSchedule", "k=v w:NoSchedule", "k=v:"},
		"kl expose --port":     ports,
		"kl audit --verb":      {"read", "GET", "get,write", ",", "connect"},
		"kl audit --resource":  {"Pod", "pods/", "/exec", "pods/exec/x", "deployments.", "*", "po ds"},
		"kl audit --namespace": {"Shop", "a.b", "a/b", "*", strings.Repeat("n", 64)},
		"kl ui --screen":       {"tv", "overview,nodes"},
		"kl ui --snapshot":     {"tv", "overview,nodes"},
		"kl ui --output":       {"png", "ANSI", "json"},
	}
}

// TestBadFlags gives every flag of every command values that it cannot have. Each is answered by a line that names the flag or the
// value, and exit code 2.
func TestBadFlags(t *testing.T) {
	m, n := newMachine(t), 0
	texts := wrongTexts()
	used := map[string]bool{}
	for _, c := range allCommands(newRootCmd(newEnv(m.env))) {
		path := c.CommandPath()
		if path == "kl kubectl" || path == "kl help" || strings.HasPrefix(path, "kl completion") {
			continue // whose flags are kubectl's, or cobra's
		}
		c.InheritedFlags() // merges them
		c.Flags().VisitAll(func(f *pflag.Flag) {
			key := path + " --" + f.Name
			switch {
			case f.Name == "name":
				key = "kl --name"
			case path == "kl run": // which has all flags of kl up
				key = strings.Replace(key, path, "kl up", 1)
			}
			values := wrongFor(f)
			if list, ok := texts[key]; ok {
				used[key] = true
				values = append(slices.Clone(list), oddTexts...)
			}
			for _, value := range values {
				if optional(key, value) {
					continue
				}
				n++
				m.answer(fmt.Sprintf("%s=%.30q", key, value), named(f.Name, value), "", []int{exitUsage}, withFlag(path, "--"+f.Name+"="+value)...)
			}
		})
	}
	for key := range texts {
		if !used[key] {
			t.Errorf("there is no %s", key)
		}
	}
	if n < 1000 {
		t.Errorf("the corpus has %d command lines, want 1000", n)
	}
	t.Logf("%d command lines", n)
}

// withFlag is a command with arguments that it accepts, and a flag before them, as they may contain "--".
func withFlag(path, flag string) []string {
	return slices.Concat(strings.Fields(path)[1:], []string{flag}, argumentsOf(path).valid)
}

// optional reports whether a flag may have that value after all.
func optional(key, value string) bool {
	switch key {
	case "kl up --file", "kl config view --file": // empty is none, - standard input
		return value == "" || value == "-"
	case "kl up --driver", "kl up --restart", "kl ui --snapshot", "kl ui --screen", "kl node add --cpus", "kl node add --memory":
		return value == ""
	}
	return false
}

// named is what an answer names: the value or, if that cannot be shown, the flag.
func named(flag, value string) string {
	if len(value) > 20 || strings.ContainsFunc(value, func(r rune) bool { return r < '!' || r > '~' }) || value == "" || len(value) < 2 {
		return ""
	}
	switch {
	case flag == "label" || flag == "taint": // the field is named, and the part of the value that is wrong
		return flag
	case strings.HasPrefix(value, "-"):
		return flag
	}
	return value
}

// TestOddFlags gives flags that take any text some that only an attacker or an accident would give. Commands fail all the same,
// since there is no cluster.
func TestOddFlags(t *testing.T) {
	m, n := newMachine(t), 0
	for _, c := range allCommands(newRootCmd(newEnv(m.env))) {
		path := c.CommandPath()
		if path == "kl kubectl" || path == "kl help" || path == "kl up" || path == "kl run" || hidden(c) || path == "kl version" || path == "kl doctor" || strings.HasPrefix(path, "kl completion") || c.HasSubCommands() {
			continue
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if kind := f.Value.Type(); f.Name == "name" || kind != "string" && kind != "stringArray" && kind != "stringSlice" && kind != "stringToString" {
				return
			}
			for _, value := range oddTexts {
				if path == "kl convert" && value == "../.." {
					continue // a directory, and whatever is in it
				}
				n++
				m.answer(fmt.Sprintf("%s --%s=%.30q", path, f.Name, value), "", "", []int{exitOK, exitFailed, exitUsage}, withFlag(path, "--"+f.Name+"="+value)...)
			}
		})
		if argumentsOf(path).valid != nil || argumentsOf(path).any {
			for _, value := range oddTexts {
				n++
				m.answer(fmt.Sprintf("%s %.30q", path, value), "", "", []int{exitFailed, exitUsage}, append(strings.Fields(path)[1:], "--", value)...)
			}
		}
	}
	t.Logf("%d command lines", n)
}
