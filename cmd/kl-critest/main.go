// Command kl-critest runs the CRI validation suite against the container runtime of the node it runs in. `kl cri check` starts it:
//
//	kl-critest [-focus REGEXP]… [-skip REGEXP]…
//
// It prints a line of JSON for each spec and exits with 0, 1 if a spec failed, or 2 if the suite could not be run, which it
// says on standard error. It ends early, and cleans up, when standard input ends. In images of the suite the same program is
// the servers and tools that they need, by the name it is started with.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/klkube/kl/embedded/critest"
)

func main() {
	if ran, err := critest.Applet(os.Args, os.Stdout); ran {
		var code critest.ExitError
		if errors.As(err, &code) {
			os.Exit(int(code))
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
			os.Exit(1)
		}
		return
	}
	err := run(os.Args[1:])
	switch {
	case err == nil:
	case errors.Is(err, critest.ErrSpecsFailed):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func run(args []string) error {
	var o critest.Options
	flags := flag.NewFlagSet("kl-critest", flag.ContinueOnError)
	flags.Func("focus", "run specs whose names match; repeatable", func(s string) error { o.Focus = append(o.Focus, s); return nil })
	flags.Func("skip", "leave out specs whose names match; repeatable", func(s string) error { o.Skip = append(o.Skip, s); return nil })
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	// Results keep their stream while the suite's own output goes nowhere.
	results, err := critest.KeepStdout()
	if err != nil {
		return err
	}
	defer results.Close()
	o.Results = results
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(errors.New("interrupted"))
	}()
	return critest.Run(ctx, o)
}
