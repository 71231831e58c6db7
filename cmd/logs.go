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

	"github.com/klkube/kl/cluster"
)

// followInterval is how often a followed log is looked at.
const followInterval = 100 * time.Millisecond

type logFlags struct {
	follow bool
	tail   int // lines from the end; negative means all
}

func newLogsCmd(e *env) *cobra.Command {
	f := logFlags{tail: -1}
	cmd := &cobra.Command{
		Use:   "logs [COMPONENT | NODE | NODE/PROGRAM]",
		Short: "Print the log of a component or of a node",
		Long: "Print the log of a component of the control plane, or of a node: its kubelet, proxy and agent log\n" +
			"together, as NODE, its container runtime as NODE/containerd. Without an argument it is the control\n" +
			"plane's own log. A name that does not exist is answered with those that do.",
		Example: "  kl logs kube-apiserver\n  kl logs n1 -f\n  kl logs n1/containerd --tail 20",
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
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on printing what is added")
	cmd.Flags().IntVar(&f.tail, "tail", f.tail, "`lines` to print from the end; all if negative")
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
		return &cluster.Error{Op: "find log " + what, Err: fs.ErrNotExist, Hint: "there are: " + strings.Join(names, ", ")}
	}
	return printLog(ctx, e.Out, files[i], f)
}

// logNames lists the logs of a cluster and the files they are in.
func logNames(l cluster.Layout) (names, files []string) {
	components, _ := filepath.Glob(l.LogFile("*"))
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

// printLog prints a file and, if asked, what is added to it, until ctx ends. A file that shrinks or is replaced (a log
// that was rotated) is read from its beginning.
func printLog(ctx context.Context, w io.Writer, path string, o logFlags) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { f.Close() }()
	if err := seekTail(f, o.tail); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		if _, err := io.Copy(w, f); err != nil {
			return fmt.Errorf("print log: %w", err)
		}
		if !o.follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if next := rotated(f, path); next != nil {
			f.Close()
			f = next
		}
	}
}

// rotated returns the file to go on with if it is not f where f stands.
func rotated(f *os.File, path string) *os.File {
	next, err := os.Open(path)
	if err != nil {
		return nil // between two files
	}
	mine, err1 := f.Stat()
	there, err2 := next.Stat()
	at, err3 := f.Seek(0, io.SeekCurrent)
	if errors.Join(err1, err2, err3) == nil && os.SameFile(mine, there) && there.Size() >= at {
		next.Close()
		return nil
	}
	return next
}

// seekTail moves to the beginning of the last n lines.
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
			if buf[i] != '\n' || at+i == end-1 { // the newline that ends the last line begins no other
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
