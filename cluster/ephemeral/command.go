package ephemeral

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster/statefile"
)

// Exit codes of shells.
const (
	CodeNotRunnable = 126
	CodeNotFound    = 127
	codeSignal      = 128 // and the signal's number
)

// Programs that every home has: see Home.AddKubectl.
const (
	kl      = "kl"
	kubectl = "kubectl"
)

// maxQuote is how many bytes of what somebody typed are quoted.
const maxQuote = 100

// streamDelay is how long output is read that children which a command has left behind may still write. It matters only for streams that
// are no files.
const streamDelay = time.Second

// NotRunnableError is the error for a command that cannot be started.
type NotRunnableError struct {
	Name string
	Code int // CodeNotRunnable or CodeNotFound
	Err  error
}

func (e *NotRunnableError) Error() string {
	return fmt.Sprintf("run %q: %v", statefile.Shorten(e.Name, maxQuote), e.Err)
}
func (e *NotRunnableError) Unwrap() error { return e.Err }

// Find returns the path of a program as shells find it; kl and kubectl, which every home has, may be missing. The error is a
// *NotRunnableError.
func Find(name string) (path string, err error) {
	path, err = exec.LookPath(name)
	switch {
	case errors.Is(err, exec.ErrDot): // as shells do
		path = "." + string(filepath.Separator) + path
		err = checkInterpreter(path)
	case err == nil:
		err = checkInterpreter(path)
	case errors.Is(err, exec.ErrNotFound) && (name == kl || name == kubectl):
		return name, nil
	}
	if err == nil {
		return path, nil
	}
	return "", notRunnable(name, err)
}

func notRunnable(name string, err error) error {
	e := &NotRunnableError{Name: name, Code: CodeNotRunnable, Err: err}
	var lookup *exec.Error
	var path *fs.PathError
	switch { // the path is in Name already
	case errors.As(err, &path):
		e.Err = path.Err
	case errors.As(err, &lookup):
		e.Err = lookup.Err
	}
	switch {
	case errors.Is(err, exec.ErrNotFound):
		e.Code, e.Err = CodeNotFound, errors.New("there is no such program in $PATH")
	case errors.Is(err, fs.ErrNotExist):
		e.Code = CodeNotFound
	}
	return e
}

// checkInterpreter returns an error if a script names a program that is missing, which the kernel says in the same words as if the script
// was.
func checkInterpreter(path string) error {
	f, err := statefile.Open(path)
	if err != nil {
		return nil //nolint:nilerr // a program may be runnable and not readable
	}
	defer f.Close()
	line, _ := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n') // as much as the kernel reads
	rest, ok := strings.CutPrefix(line, "#!")
	words := strings.Fields(rest)
	if !ok || len(words) == 0 {
		return nil
	}
	if _, err := os.Stat(words[0]); err != nil {
		return fmt.Errorf("its interpreter %s: %w", words[0], errors.Unwrap(err))
	}
	return nil
}

// Command is a command that runs in this process' place: with its terminal, in its process group, with its streams.
type Command struct {
	Program string   // as Find returned it
	Args    []string // with the name at the beginning, as the user wrote it
	Environ []string

	In       io.Reader
	Out, Err io.Writer
	Signals  <-chan os.Signal // passed to the command; may be nil
}

// Run runs the command and returns its exit code when it has ended, whatever its children do: 128 and a signal's number if that ended
// it. The error is a *NotRunnableError. On Linux the command gets SIGTERM if this process is killed.
func (c Command) Run() (int, error) {
	runtime.LockOSThread() // the kernel looks at the thread that started the command
	defer runtime.UnlockOSThread()
	if signal.Ignored(syscall.SIGPIPE) { // the command would inherit that, but not that nobody looks at the signal
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
		defer signal.Ignore(syscall.SIGPIPE)
	}
	cmd, err := c.start()
	if err != nil {
		return 0, notRunnable(c.Args[0], err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // what counts is in ProcessState
		close(ended)
	}()
	for {
		select {
		case s := <-c.Signals:
			if !fromTerminal(s) {
				_ = cmd.Process.Signal(s) // it may have ended
			}
		case <-ended:
			return exitCode(cmd.ProcessState), nil
		}
	}
}

// start starts the command; one that is neither a program nor says what runs it with a shell, as execvp(3) does.
func (c Command) start() (*exec.Cmd, error) {
	path := c.Program
	if path == kl || path == kubectl { // of the home
		for _, entry := range c.Environ {
			if list, ok := strings.CutPrefix(entry, "PATH="); ok {
				dirs := filepath.SplitList(list)
				path = filepath.Join(dirs[len(dirs)-1], path)
			}
		}
	}
	cmd := c.command(path, c.Args)
	err := cmd.Start()
	if errors.Is(err, syscall.ENOEXEC) {
		cmd = c.command("/bin/sh", append([]string{"sh", path}, c.Args[1:]...))
		err = cmd.Start()
	}
	return cmd, err
}

// command is not for exec.CommandContext: whoever ends the command does so by a signal.
func (c Command) command(path string, args []string) *exec.Cmd {
	return &exec.Cmd{
		Path: path, Args: args, Env: c.Environ, Stdin: c.In, Stdout: c.Out, Stderr: c.Err,
		SysProcAttr: endsWithParent(), WaitDelay: streamDelay,
	}
}

func exitCode(s *os.ProcessState) int {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return codeSignal + int(status.Signal())
	}
	return s.ExitCode()
}
