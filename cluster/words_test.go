package cluster_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// stilted lists phrasings that readers of this tree have stumbled over, with what to write instead.
func stilted() map[string]string {
	return map[string]string{
		`\btells? whether\b`:        "reports whether",
		`\bto be had\b`:             "available",
		`\bnot more than nothing\b`: "greater than zero",
		`\bnot to be any more\b`:    "is being removed",
		`\bis not any more\b`:       "is no longer",
		`\bwho comes before\b`:      "wait blocks until",
		`\bnothing to say\b`:        "empty",
		`\bby way of\b`:             "through",
		`\bthe likes? of\b`:         "such as",
	}
}

// TestWords fails on phrasings that are harder to read than the plain sentence they stand for.
func TestWords(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "*.go", "*.md", "*.txtar", "*.yml", "Makefile", ".ci/*")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	files := strings.Fields(string(out))
	if len(files) < 100 {
		t.Fatalf("git knows %d files, want the whole tree", len(files))
	}
	for pattern, instead := range stilted() {
		expr := regexp.MustCompile(`(?i)` + pattern)
		for _, file := range files {
			if filepath.Base(file) == "words_test.go" {
				continue
			}
			data, err := os.ReadFile(filepath.Join("..", file))
			if os.IsNotExist(err) {
				continue // removed, and not committed yet
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, line := range strings.Split(string(data), "\n") {
				if found := expr.FindString(line); found != "" {
					t.Errorf("%s:%d: %q: write %q, or a sentence that needs no second reading", file, i+1, found, instead)
				}
			}
		}
	}
}
