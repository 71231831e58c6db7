// Command mkdocs writes README's table of the tour from the scenarios: go run ./testdata/tour/mkdocs
package main

import (
	"fmt"
	"os"

	scenarios "github.com/klkube/kl/testdata/tour"
)

func main() {
	if err := run("README.md"); err != nil {
		fmt.Fprintln(os.Stderr, "mkdocs:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	after, err := scenarios.Document(string(before))
	if err != nil || after == string(before) {
		return err
	}
	return os.WriteFile(file, []byte(after), 0o644)
}
