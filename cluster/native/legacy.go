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

// Older machines keep their firewall in the kernel's first generation of tables, which nftables does not show. Where
// those tables are in use, the program that filled them is there too, and does the same as passFirewalls does. Nothing
// happens where they are not.

// legacyRules are the arguments of iptables that describe the accept rules of a cluster.
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
				continue // not there
			}
			_, err := call(iptables, slices.Concat([]string{"-D"}, rule)...)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// legacy calls do with the program for the old tables, if the filter table is in use.
func (s scope) legacy(do func(iptables string) error) error {
	tables, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if err != nil || !strings.Contains("\n"+string(tables), "\nfilter\n") {
		return nil //nolint:nilerr // no such tables in this kernel
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
	return nil // nobody can tell what is in it: the table may be empty
}

func call(program string, args ...string) (string, error) {
	if len(args) > 1 {
		args = append([]string{"--wait"}, args...)
	}
	var out, complaint bytes.Buffer
	cmd := exec.Command(program, args...) //nolint:noctx // at once
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}
