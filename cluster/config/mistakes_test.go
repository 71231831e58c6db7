package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestEveryMistakeIsNamed checks that a value of the wrong form hides no other mistake of the file.
func TestEveryMistakeIsNamed(t *testing.T) {
	head := "apiVersion: kl.dev/v1alpha1\nkind: Cluster\n"
	mistakes := []string{
		"name: {a: b}\n", "driver: [x]\n", "odd: 1\n", "ephemeral: maybe\n", "disable: 7\n",
		"nodes:\n- count: two\n", "nodes: hello\n", "networking: 3\n", "networking:\n  podCIDR: [a]\n",
		"kubernetes: [a]\n", "kubernetes:\n  featureGates: [a]\n", "kubernetes:\n  extraArgs: 7\n", "containerd: 7\n",
		"name: No_Name\n", "driver: podman\n", "networking:\n  podCIDR: 10.0.0.0/99\n", "nodes:\n- count: -1\n", "kubernetes:\n  apiServerPort: 70000\n",
	}
	for i, a := range mistakes {
		for j, b := range mistakes {
			if key := func(s string) string { return s[:strings.Index(s, ":")] }; i == j || key(a) == key(b) {
				continue
			}
			_, err := Parse("my.yaml", []byte(head+a+b), testMachine())
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("%q and %q: %v", a, b, err)
			}
			first, second := 3, 3+strings.Count(a, "\n")
			for text, lines := range map[string][2]int{a: {first, second}, b: {second, second + strings.Count(b, "\n")}} {
				found := false
				for line := lines[0]; line < lines[1]; line++ {
					for _, p := range ps {
						found = found || strings.HasPrefix(p.String(), fmt.Sprintf("my.yaml:%d:", line))
					}
				}
				if !found {
					t.Errorf("%q is not named beside %q: %v", text, a+b, ps)
				}
			}
		}
	}
}
