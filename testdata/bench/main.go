// Command bench works with the files that kl's benchmarks write, as make bench JSON=FILE makes them. It runs in the root of the
// source tree.
//
//	go run ./testdata/bench show FILE          # as a table
//	go run ./testdata/bench gobench FILE       # in Go's benchmark format, for benchstat
//	go run ./testdata/bench compare OLD NEW    # what got worse and better; exit code 1 if anything got worse
//	go run ./testdata/bench adopt FILE         # take its figures over into testdata/bench/figures.json and README.md
//	go run ./testdata/bench ratios FILE        # take its ratios over into testdata/bench/ratios, for make bench-short
//	go run ./testdata/bench readme             # write README.md's table again
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klkube/kl/cluster/statefile"
	"github.com/klkube/kl/testdata/bench/figures"
)

// errUsage and errWorse are the two ends that need no explanation of their own.
var (
	errUsage = errors.New("usage: go run ./testdata/bench show|gobench|adopt|ratios FILE, compare OLD NEW, or readme")
	errWorse = errors.New("something got worse")
)

func main() {
	if err := run(os.Stdout, ".", os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		if errors.Is(err, errWorse) {
			os.Exit(1)
		}
		os.Exit(2)
	}
}

// run does what the arguments say for the source tree at root.
func run(w io.Writer, root string, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	committed, readme := filepath.Join(root, "testdata", "bench", "figures.json"), filepath.Join(root, "README.md")
	files := make([]*figures.File, 0, len(args))
	for _, name := range args[1:] {
		if name == "" {
			return errUsage
		}
		f, err := figures.Read(name)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	switch verb := args[0]; {
	case verb == "readme" && len(files) == 0:
		f, err := figures.Read(committed)
		if err != nil {
			return err
		}
		return document(readme, f)
	case verb == "compare" && len(files) == 2:
		return compare(w, files[0], files[1])
	case len(files) != 1:
		return errUsage
	case verb == "show":
		return show(w, files[0])
	case verb == "gobench":
		return files[0].WriteBench(w)
	case verb == "adopt":
		return adopt(w, committed, readme, files[0])
	case verb == "ratios":
		return figures.WriteRatios(filepath.Join(root, "testdata", "bench", "ratios"), files[0])
	}
	return errUsage
}

// document writes README's table, if it is not up to date.
func document(readme string, f *figures.File) error {
	before, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	after, err := figures.Document(string(before), f)
	if err != nil || after == string(before) {
		return err
	}
	return statefile.Write(readme, []byte(after), 0o644)
}

// adopt takes new figures over. Nothing is written if README cannot show what comes of it.
func adopt(w io.Writer, committed, readme string, from *figures.File) error {
	f, err := figures.Read(committed)
	if err != nil {
		return err
	}
	if err := f.Adopt(from); err != nil {
		return fmt.Errorf("adopt figures: %w", err)
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	if _, err := figures.Document(string(text), f); err != nil {
		return fmt.Errorf("adopt figures: %w", err)
	}
	if err := f.Write(committed); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d figures taken over into %s\n", len(from.Rows), committed)
	return document(readme, f)
}

// show prints a table for each driver, and one for what needs none.
func show(w io.Writer, f *figures.File) error {
	for _, run := range f.Runs {
		about := run.Note
		if about == "" {
			about = fmt.Sprintf("%s, kl %s, Kubernetes %s, %s", run.Date, run.KL, run.Kubernetes, run.Machine)
		}
		for _, driver := range []string{"", "docker", "embedded"} {
			var rows []figures.Row
			for _, r := range f.Rows {
				if _, of, _ := strings.Cut(r.Key, "/driver="); r.Run == run.ID && of == driver {
					rows = append(rows, r)
				}
			}
			title := "measured"
			if driver != "" {
				title += ", driver " + driver
			}
			if len(rows) > 0 {
				fmt.Fprintf(w, "%s\n", figures.Table(title, about, rows))
			}
		}
	}
	return nil
}

// compare prints what changed, the worst first, and returns errWorse if something got worse.
func compare(w io.Writer, older, newer *figures.File) error {
	c, err := figures.Compare(older, newer)
	if err != nil {
		return err
	}
	fmt.Fprint(w, c)
	if n := c.Worse(); n > 0 {
		return fmt.Errorf("%w: %d of %d", errWorse, n, len(c.Changes))
	}
	return nil
}
