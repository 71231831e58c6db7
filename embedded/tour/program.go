// Package tour is the frame of the programs that scenarios of kl tour run in pods: servers that say which peer they see,
// clients, webhooks and the like. They are one role of the engine, which every node has, so that no image is needed:
//
//	containers:
//	- name: server
//	  image: kl.local/pause:1
//	  command: [/usr/local/bin/kl-engine, tour, serve, --name, $(POD_NAME)]
//	  volumeMounts:
//	  - {name: engine, mountPath: /usr/local/bin/kl-engine, readOnly: true}
//	volumes:
//	- name: engine
//	  hostPath: {path: /usr/local/bin/kl-engine, type: File}
//
// Each program needs no shell, no root and no file system that it can write to, logs one event a line, and ends at once when its
// context does.
package tour

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Program is one program of the tour.
type Program struct {
	Name  string
	Args  string // its arguments other than flags, as its help shows them: "URL", or "" for none
	Short string // what it does, as one line of the list of programs
	Long  string // what else its help says
	// Flags declares the program's flags, which may be nil. Run is called after they were parsed.
	Flags func(*pflag.FlagSet)
	// Run blocks until ctx is done, the program has done its work, or it fails. It then returns at once, and nil or ctx's error if nothing
	// else failed. args are its arguments other than flags, as many as Args names.
	Run func(ctx context.Context, args []string, log *Log) error
}

// UsageError is a mistake in the arguments of a program.
type UsageError struct{ text string }

func (e *UsageError) Error() string { return e.text }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Run runs the program that args begin with, or prints help to out. Every error is one line.
func Run(ctx context.Context, programs []Program, args []string, out io.Writer) error {
	if len(args) == 0 {
		return Usagef("the program is missing: one of %s", names(programs))
	}
	if slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		_, err := io.WriteString(out, list(programs))
		return err
	}
	i := slices.IndexFunc(programs, func(p Program) bool { return p.Name == args[0] })
	if i < 0 {
		return Usagef("unknown program %q: want one of %s", args[0], names(programs))
	}
	p := programs[i]
	fs := pflag.NewFlagSet(p.Name, pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.SortFlags = false
	if p.Flags != nil {
		p.Flags(fs)
	}
	err := fs.Parse(args[1:])
	if errors.Is(err, pflag.ErrHelp) {
		_, err = io.WriteString(out, p.help(fs))
		return err
	}
	if err == nil {
		err = p.checkArgs(fs.Args())
	}
	if err != nil {
		return Usagef("%s: %v; see kl-engine tour %s --help", p.Name, err, p.Name)
	}
	err = p.Run(ctx, fs.Args(), NewLog(out))
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return fmt.Errorf("%s: %w", p.Name, err)
}

// checkArgs wants one argument for each word of Args. Words in brackets need not be there.
func (p Program) checkArgs(args []string) error {
	words := strings.Fields(p.Args)
	if len(args) > len(words) {
		return fmt.Errorf("unexpected argument %q", args[len(words)])
	}
	for _, w := range words[len(args):] {
		if !strings.HasPrefix(w, "[") {
			return fmt.Errorf("%s is missing", w)
		}
	}
	return nil
}

func (p Program) help(fs *pflag.FlagSet) string {
	var b strings.Builder
	line := "kl-engine tour " + p.Name
	if p.Args != "" {
		line += " " + p.Args
	}
	if fs.HasFlags() {
		line += " [flags]"
	}
	fmt.Fprintf(&b, "%s.\n\n", strings.TrimSuffix(p.Short, "."))
	if p.Long != "" {
		fmt.Fprintf(&b, "%s\n\n", strings.TrimSpace(p.Long))
	}
	fmt.Fprintf(&b, "Usage:\n  %s\n", line)
	if fs.HasFlags() {
		fmt.Fprintf(&b, "\nFlags:\n%s", fs.FlagUsages())
	}
	return b.String()
}

func names(programs []Program) string {
	var all []string
	for _, p := range programs {
		all = append(all, p.Name)
	}
	return strings.Join(all, ", ")
}

func list(programs []Program) string {
	var b strings.Builder
	b.WriteString("The programs that scenarios of kl tour run in pods.\n\nUsage:\n  kl-engine tour PROGRAM [flags]\n\nPrograms:\n")
	for _, p := range programs {
		fmt.Fprintf(&b, "  %-12s %s\n", p.Name, p.Short)
	}
	return b.String()
}
