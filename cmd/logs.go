package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// followInterval is how often kl logs -f reads what was added. It polls, because inotify instances are what a machine with
// many kubelets runs out of first.
const followInterval = 100 * time.Millisecond

type logFlags struct {
	follow bool
	tail   int // number of lines from the end; negative means all
}

func newLogsCmd(e *env) *cobra.Command {
	f := logFlags{tail: -1}
	cmd := &cobra.Command{
		Use:   "logs [COMPONENT | NODE | NODE/PROGRAM]",
		Short: "Print the log of a component or a node",
		Long: "Print the log of a component of the control plane or of a node. NODE is the common log of the node's\n" +
			"kubelet, kube-proxy and agent, NODE/containerd that of its container runtime. Without an argument, print\n" +
			"the log of the control plane itself. An unknown name prints the names that exist.",
		Example: "  kl logs kube-apiserver\n  kl logs n1 -f\n  kl logs n1/containerd --tail 20\n  kl logs export -o bundle.tar.zst",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			what := string(cluster.ControlPlane)
			if len(args) == 1 {
				what = args[0]
			}
			return logs(cmd.Context(), e, what, f)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names, _ := logNames(e.layout())
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "keep printing lines as they are added")
	cmd.Flags().IntVar(&f.tail, "tail", f.tail, "how many `lines` to print from the end; all if negative")
	cmd.AddCommand(newLogsExportCmd(e))
	return cmd
}

func logs(ctx context.Context, e *env, what string, f logFlags) error {
	l := e.layout()
	names, files := logNames(l)
	i := slices.Index(names, what)
	if i < 0 {
		if _, err := cluster.ReadSpec(l); errors.Is(err, fs.ErrNotExist) && len(names) == 0 {
			return err
		}
		return &cluster.Error{Op: "find log " + what, Err: fs.ErrNotExist, Hint: "logs are: " + strings.Join(names, ", ")}
	}
	return printLog(ctx, e.Out, files[i], f)
}

// logNames returns the names of the logs of a cluster and their files, in the same order.
func logNames(l cluster.Layout) (names, files []string) {
	components, _ := filepath.Glob(l.LogFile("*")) // the only error is a bad pattern
	for _, file := range components {
		names, files = append(names, strings.TrimSuffix(filepath.Base(file), ".log")), append(files, file)
	}
	programs, _ := filepath.Glob(l.NodeLogFile("*", "*"))
	for _, file := range programs {
		node := filepath.Base(filepath.Dir(filepath.Dir(file)))
		program := strings.TrimSuffix(filepath.Base(file), ".log")
		if program == "node" {
			names, files = append(names, node), append(files, file)
		}
		names, files = append(names, node+"/"+program), append(files, file)
	}
	return names, files
}

// printLog prints a log file and, if o.follow is set, what is added to it until ctx is done. A file that was replaced or
// truncated, as rotation does, is read from its beginning.
func printLog(ctx context.Context, w io.Writer, path string, o logFlags) error {
	f, err := openLog(path)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { f.Close() }()
	if err := seekTail(f, o.tail); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	if _, err := io.Copy(w, f); err != nil || !o.follow {
		return wrap("print log", err)
	}
	err = wait.PollUntilContextCancel(ctx, followInterval, false, func(context.Context) (bool, error) {
		if _, err := io.Copy(w, f); err != nil {
			return false, err
		}
		next := rotated(f, path)
		if next == nil {
			return false, nil
		}
		f.Close()
		f = next
		_, err := io.Copy(w, f)
		return false, err
	})
	if ctx.Err() != nil {
		return nil // Ctrl-C is how following ends
	}
	return wrap("print log", err)
}

// openLog opens a log. A node writes to its own directory, and must not have what is elsewhere shown instead.
func openLog(path string) (*os.File, error) {
	logs := filepath.Dir(path)
	return statefile.OpenWithin(filepath.Dir(logs), filepath.Join(filepath.Base(logs), filepath.Base(path)))
}

// wrap adds what was tried to an error, if there is one.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}

// rotated opens the file at path and returns it if it is not f, or is shorter than what was read of f; otherwise nil.
func rotated(f *os.File, path string) *os.File {
	next, err := openLog(path)
	if err != nil {
		return nil // the new file does not exist yet
	}
	old, err1 := f.Stat()
	current, err2 := next.Stat()
	read, err3 := f.Seek(0, io.SeekCurrent)
	if errors.Join(err1, err2, err3) == nil && os.SameFile(old, current) && current.Size() >= read {
		next.Close()
		return nil
	}
	return next
}

// seekTail seeks to the beginning of the last n lines, or nowhere if n is negative.
func seekTail(f *os.File, n int) error {
	if n < 0 {
		return nil
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return err
	}
	buf := make([]byte, 64<<10)
	for at := end; at > 0; {
		size := min(int64(len(buf)), at)
		at -= size
		if _, err := f.ReadAt(buf[:size], at); err != nil {
			return err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' || at+i == end-1 { // no line follows the last newline
				continue
			}
			if n--; n == 0 {
				_, err := f.Seek(at+i+1, io.SeekStart)
				return err
			}
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
