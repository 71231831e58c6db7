package scenarios_test

import (
	"os"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster/tour"
	scenarios "github.com/klkube/kl/testdata/tour"
)

// Every scenario can be read, every file of it is used, and what is printed about it fits a terminal.
func TestScenarios(t *testing.T) {
	all, err := tour.LoadAll(scenarios.Files)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 18 {
		t.Errorf("only %d scenarios", len(all))
	}
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			if len(s.Title) > 96 || len(s.Feature) > 56 || s.Feature == "" || strings.HasSuffix(s.Title, ".") {
				t.Errorf("title (at most 96) or feature (at most 56) is too long, missing, or ends with a full stop: %q, %q", s.Title, s.Feature)
			}
			var commands strings.Builder
			for _, step := range s.Steps {
				commands.WriteString(step.Run + "\n")
			}
			err := s.EachFile(func(file, _ string) error {
				if file != tour.ScenarioFile && !strings.Contains(commands.String(), file) {
					t.Errorf("no step uses %s", file)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// README lists what the scenarios say of themselves.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := scenarios.Document(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if want != string(text) {
		t.Error("README's table of the tour is out of date: run `make docs-table`")
	}
	if _, err := scenarios.Document("no place"); err == nil {
		t.Error("a document without a place for the table is accepted")
	}
}
