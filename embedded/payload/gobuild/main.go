// Command gobuild is `go build` that says how far it is: Kubernetes takes many minutes to compile, in silence. On a terminal
// it keeps one line up to date, in a log it writes a line every 20 seconds, and a build that has nothing to do writes none.
// What compilers and linkers say comes out as it is, and the exit code is that of go build.
//
//	gobuild [-tags LIST] [-ldflags [PATTERN=]FLAGS]… [-o FILE|DIRECTORY/] PACKAGE…
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
	"slices"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stderr, terminal(os.Stderr))
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.As(err, &exit) && exit.ExitCode() > 0: // go build has said why
		os.Exit(exit.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "gobuild:", err)
		os.Exit(1)
	}
}

// terminal reports whether f is one. The null device passes, too, and swallows what is meant for it.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// collector is the value of GOGC for compilers and linkers. They end before most of what they allocate can be collected:
// with less collection, compiling Kubernetes takes 8 % less of the processor.
const collector = "400"

// build is one run of go build.
type build struct {
	flags     []string // that decide what is compiled: -tags
	packages  []string
	progress  *progress
	compiling func() // called for each package
}

// run builds as the arguments say and reports to w.
func run(ctx context.Context, args []string, w io.Writer, live bool) error {
	var b build
	var outcome []string // flags that decide what is linked
	flags := flag.NewFlagSet("gobuild", flag.ContinueOnError)
	flags.SetOutput(w)
	flags.Func("tags", "build tags", func(s string) error { b.flags = append(b.flags, "-tags", s); return nil })
	for _, name := range []string{"ldflags", "o"} {
		flags.Func(name, "as for go build", func(s string) error { outcome = append(outcome, "-"+name, s); return nil })
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	b.packages = flags.Args()
	b.progress = &progress{w: w, live: live, now: time.Now}

	return b.start(ctx, outcome)
}

// start runs go build with flags that decide what is linked.
func (b *build) start(ctx context.Context, outcome []string) error {
	cmd := goCommand(ctx, slices.Concat([]string{"build", "-v", "-json"}, b.flags, outcome, b.packages)...)
	if os.Getenv("GOGC") == "" {
		cmd.Env = append(cmd.Environ(), "GOGC="+collector)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle, compiling := context.WithCancel(ctx)
	b.compiling = compiling
	var readers, helpers sync.WaitGroup
	readers.Go(func() { b.output(ctx, &helpers, output) })
	readers.Go(func() { b.log(idle, &helpers, log) })
	helpers.Go(func() { b.progress.tick(ctx) })
	readers.Wait()
	err = cmd.Wait()
	cancel()
	helpers.Wait()
	b.progress.clear()
	return err
}

// goCommand is a command of go that is interrupted, not killed, when ctx is done, so that it ends its compilers.
func goCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
