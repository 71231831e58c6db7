// Command bump moves kl's modules to their newest releases: `make bump`. It asks the Go module proxy which releases there are,
// within the line that each module may use (see [lines]), and rewrites go.mod. k8s.io's staging modules go along with
// k8s.io/kubernetes, etcd and cri-tools follow it. Then it builds and tests with make, and prints what changed, old → new.
//
//	go run ./testdata/bump              # change, build, test
//	go run ./testdata/bump -n           # only say what would change
//	go run ./testdata/bump -then build  # other targets of make
//
// If a newer version cannot be had, or the modules do not fit together, go.mod and go.sum stay as they were. If the build or a
// test fails, they are left changed, for a look at it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	only := flag.Bool("n", false, "only say what would change")
	then := flag.String("then", "third-party build test", "targets of make, in this order, once go.mod has changed")
	flag.Parse()
	t := tree{dir: ".", out: os.Stdout, versions: proxyVersions, requires: proxyRequires, run: run}
	if err := t.bump(ctx, *only, strings.Fields(*then)); err != nil {
		fmt.Fprintln(os.Stderr, "bump:", err)
		os.Exit(1)
	}
}

// tree is a source tree and what it takes to change it.
type tree struct {
	dir      string
	out      io.Writer
	versions func(ctx context.Context, module string) ([]string, error)           // all that the proxy has
	requires func(ctx context.Context, module, version string) ([]byte, error)    // its go.mod
	run      func(ctx context.Context, dir, program string, args ...string) error // with its output shown
}

// bump changes the tree, or with only says what it would change.
func (t tree) bump(ctx context.Context, only bool, targets []string) error {
	file := filepath.Join(t.dir, "go.mod")
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	moves, err := t.plan(ctx, before)
	if err != nil {
		return err
	}
	if len(moves) == 0 {
		fmt.Fprintln(t.out, "nothing newer: every module is the newest release of its line")
		return nil
	}
	printMoves(t.out, "newer releases:", moves)
	if only {
		return nil
	}
	if err := t.rewrite(ctx, file, before, moves); err != nil {
		return fmt.Errorf("%w\ngo.mod and go.sum are as before", err)
	}
	after, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed, err := difference(before, after)
	if err != nil {
		return err
	}
	failed := ""
	for _, target := range targets {
		if err := t.run(ctx, t.dir, "make", target); err != nil {
			failed = target
			break
		}
	}
	printMoves(t.out, "changed:", changed)
	if failed != "" {
		return fmt.Errorf("make %s fails with these modules; 'git checkout go.mod go.sum' takes them back", failed)
	}
	return nil
}

// rewrite writes go.mod and go.sum, or leaves both as they were.
func (t tree) rewrite(ctx context.Context, file string, before []byte, moves []move) error {
	sums := filepath.Join(t.dir, "go.sum")
	oldSums, err := os.ReadFile(sums)
	if err != nil {
		return err
	}
	after, err := apply(before, moves)
	if err != nil {
		return err
	}
	err = os.WriteFile(file, after, 0o644)
	if err == nil {
		err = t.run(ctx, t.dir, "go", "mod", "tidy")
	}
	if err != nil {
		return errors.Join(err, os.WriteFile(file, before, 0o644), os.WriteFile(sums, oldSums, 0o644))
	}
	return nil
}

func printMoves(w io.Writer, head string, moves []move) {
	fmt.Fprintln(w, head)
	width := 0
	for _, m := range moves {
		width = max(width, len(m.module))
	}
	for _, m := range moves {
		from, to := m.from, m.to
		if from == "" {
			from = "(new)"
		}
		if to == "" {
			to = "(gone)"
		}
		fmt.Fprintf(w, "  %-*s  %s → %s\n", width, m.module, from, to)
	}
}

func run(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	if program == "go" {
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return nil
}
