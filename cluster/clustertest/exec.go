package clustertest

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klkube/kl/cluster"
)

// Exec runs a command of Commands, or one of the built-in ones: true, false, echo, hostname, cat [FILE], tee FILE
// (both of which reach TunnelDir, NodeDir and SharedDir on the host), sh -c "exit N", and a script for a terminal that prints
// two sizes with stty. An unknown one exits with 127.
func (f *Fake) Exec(ctx context.Context, n cluster.Node, cmd cluster.ExecSpec) (int, error) {
	now, err := f.machine.find(n)
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	if now.State != cluster.NodeRunning {
		return 0, fmt.Errorf("exec in node %s: the node is %s", n.Name, strings.ToLower(string(now.State)))
	}
	if len(cmd.Cmd) == 0 {
		return 0, fmt.Errorf("exec in node %s: no command", n.Name)
	}
	if err := f.before(ctx, "exec", now); err != nil {
		return 0, err
	}
	if cmd.Stdin == nil {
		cmd.Stdin = strings.NewReader("")
	}
	if cmd.Stdout == nil {
		cmd.Stdout = io.Discard
	}
	if cmd.Stderr == nil || cmd.TTY {
		cmd.Stderr = cmd.Stdout // a terminal has one output
		if !cmd.TTY {
			cmd.Stderr = io.Discard
		}
	}
	f.machine.mu.Lock()
	f.machine.note("exec", now)
	f.machine.mu.Unlock()
	if run, ok := f.Commands[cmd.Cmd[0]]; ok {
		return run(ctx, now, cmd), nil
	}
	done := make(chan int, 1)
	go func() { done <- f.builtin(ctx, now, cmd) }() // outlives ctx only while it reads the caller's Stdin
	select {
	case code := <-done:
		return code, ctx.Err()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (f *Fake) builtin(ctx context.Context, n cluster.Node, cmd cluster.ExecSpec) int {
	args := cmd.Cmd[1:]
	switch name := filepath.Base(cmd.Cmd[0]); {
	case name == "true":
		return 0
	case name == "false":
		return 1
	case name == "echo":
		fmt.Fprintln(cmd.Stdout, strings.Join(args, " "))
		return 0
	case name == "hostname":
		fmt.Fprintln(cmd.Stdout, n.Name)
		return 0
	case name == "cat" || name == "tee" && len(args) == 1:
		return f.file(n, cmd, name == "tee")
	case name == "sh" && cmd.TTY && strings.Contains(args[len(args)-1], "stty size"):
		return sizes(ctx, cmd)
	case name == "sh" && len(args) == 2 && args[0] == "-c":
		var code int
		if _, err := fmt.Sscanf(args[1], "exit %d", &code); err == nil {
			return code
		}
	}
	fmt.Fprintf(cmd.Stderr, "%s: not found\n", cmd.Cmd[0])
	return 127
}

// sizes prints the first two sizes of the terminal.
func sizes(ctx context.Context, cmd cluster.ExecSpec) int {
	for range 2 {
		select {
		case size := <-cmd.Resize:
			fmt.Fprintf(cmd.Stdout, "%d %d\r\n", size.Height, size.Width)
		case <-ctx.Done():
			return 1
		}
	}
	return 0
}

// file is cat and tee.
func (f *Fake) file(n cluster.Node, cmd cluster.ExecSpec, write bool) int {
	if len(cmd.Cmd) == 1 { // cat of its input
		if _, err := io.Copy(cmd.Stdout, cmd.Stdin); err != nil {
			return 1
		}
		return 0
	}
	path, data := cmd.Cmd[1], []byte(nil)
	if write {
		data, _ = io.ReadAll(cmd.Stdin)
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	node, ok := f.machine.nodes[key(n)]
	if !ok {
		return 137 // the node was deleted while the command ran
	}
	content, err := node.access(path, data, write)
	if err != nil {
		fmt.Fprintf(cmd.Stderr, "%s: %s: %v\n", cmd.Cmd[0], path, err)
		return 1
	}
	_, _ = cmd.Stdout.Write(content)
	return 0
}

// access reads or writes a file of the node: on the host if it is below a mount, else in memory.
func (n *fakeNode) access(path string, data []byte, write bool) ([]byte, error) {
	mounts := append([]cluster.Mount{
		{Host: n.spec.TunnelDir, Node: cluster.TunnelMountDir, ReadOnly: true}, {Host: n.spec.NodeDir, Node: cluster.NodeMountDir},
		{Host: n.spec.SharedDir, Node: cluster.SharedMountDir},
	}, n.spec.Mounts...)
	for _, m := range mounts {
		rest, below := strings.CutPrefix(path, m.Node+"/")
		switch host := filepath.Join(m.Host, rest); {
		case !below:
			continue
		case write && m.ReadOnly:
			return nil, fmt.Errorf("read-only file system")
		case write:
			return data, os.WriteFile(host, data, 0o600)
		default:
			return os.ReadFile(host)
		}
	}
	if write {
		n.files[path] = string(data)
		return data, nil
	}
	content, ok := n.files[path]
	if !ok {
		return nil, os.ErrNotExist
	}
	return []byte(content), nil
}
