package cmd

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 179 * time.Minute: "179m",
		3 * time.Hour: "3h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 900 * time.Hour: "37d",
	} {
		if got := age(d); got != want {
			t.Errorf("age(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := table(&b, [][]string{{"NAME", "IP"}, {"a-long-name", ""}, {"b", "10.0.0.1"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("NAME          IP\na-long-name   -\nb             10.0.0.1\n", b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestParseCompletion(t *testing.T) {
	for _, tt := range []struct {
		name, out string
		want      []string
		directive cobra.ShellCompDirective
	}{
		{"suggestions", "pods\npodtemplates\tdescription\n:4\n", []string{"pods", "podtemplates\tdescription"}, cobra.ShellCompDirectiveNoFileComp},
		{"none", ":0\n", []string{}, cobra.ShellCompDirectiveDefault},
		{"no directive", "pods\n", nil, cobra.ShellCompDirectiveError},
		{"empty", "", nil, cobra.ShellCompDirectiveError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, directive := parseCompletion([]byte(tt.out))
			if diff := cmp.Diff(tt.want, got); diff != "" || directive != tt.directive {
				t.Errorf("directive %d, want %d; suggestions (-want +got):\n%s", directive, tt.directive, diff)
			}
		})
	}
}
