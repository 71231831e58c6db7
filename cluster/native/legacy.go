//go:build linux

package native

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Older machines have their firewall in the xtables of the kernel, which nftables does not show. Where those are in use, the
// iptables program that filled them is installed, and adds the same rules as passFirewalls. Elsewhere nothing happens.

// legacyRules returns the arguments of iptables for the accept rules of a cluster.
func (s scope) legacyRules() [][]string {
	comment := []string{"-m", "comment", "--comment", s.table(), "-j", "ACCEPT"}
	return [][]string{
		append([]string{"FORWARD", "-o", s.bridge(), "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"}, comment...),
		append([]string{"FORWARD", "-i", s.bridge()}, comment...),
	}
}

// passLegacyFirewall adds the rules if the table drops forwarded packets.
func (s scope) passLegacyFirewall() error {
	return s.legacy(func(iptables string) error {
		policy, err := call(iptables, "-S", "FORWARD")
		if err != nil || !strings.Contains(policy, "-P FORWARD DROP") {
			return err
		}
		for _, rule := range s.legacyRules() {
			if _, err := call(iptables, slices.Concat([]string{"-C"}, rule)...); err == nil {
				continue
			}
			if _, err := call(iptables, slices.Concat([]string{"-I"}, rule)...); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s scope) removeLegacyRules() error {
	return s.legacy(func(iptables string) error {
		var errs []error
		for _, rule := range s.legacyRules() {
			if _, err := call(iptables, slices.Concat([]string{"-C"}, rule)...); err != nil {
				continue // there is no such rule
			}
			_, err := call(iptables, slices.Concat([]string{"-D"}, rule)...)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// legacy calls do with the iptables program for xtables, if their filter table is in use.
func (s scope) legacy(do func(iptables string) error) error {
	tables, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if err != nil || !strings.Contains("\n"+string(tables), "\nfilter\n") {
		return nil //nolint:nilerr // this kernel has no xtables
	}
	for _, name := range []string{"iptables-legacy", "iptables"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if version, err := call(path, "--version"); err != nil || strings.Contains(version, "nf_tables") {
			continue
		}
		return do(path)
	}
	return nil // without the program nothing can be said about the table, which may be empty
}

func call(program string, args ...string) (string, error) {
	if len(args) > 1 {
		args = append([]string{"--wait"}, args...)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(program, args...) //nolint:noctx // returns at once
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
