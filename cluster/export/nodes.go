package export

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klkube/kl/cluster"
)

const (
	nodeLimit    = time.Minute
	commandLimit = 10 * time.Second
)

// command is run in each node.
type command struct {
	file, about string
	argv        []string
}

// shell is a script of commands, each of which is printed before its output.
func shell(lines string) []string {
	return []string{"sh", "-c", "run() { echo \"# $*\"; \"$@\" 2>&1; echo; }\n" + lines}
}

// commands say what a node looks like from inside. Arguments of pods' processes are left out: they may hold values of Secrets.
func commands() []command {
	return []command{
		{"processes.txt", "processes; of those of pods the name alone", shell(`printf '%8s %8s %10s  %s\n' PID PPID RSS-KB COMMAND
for d in /proc/[0-9]*; do
  [ -r $d/status ] && [ ${d#/proc/} != $$ ] || continue
  what=$(sed -n 's/^Name:[[:space:]]*//p' $d/status)
  grep -q kubepods $d/cgroup || what=$(tr '\000\n' '  ' <$d/cmdline)
  printf '%8s %8s %10s  %s\n' ${d#/proc/} "$(sed -n 's/^PPid:[[:space:]]*//p' $d/status)" "$(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\).*/\1/p' $d/status)" "$what"
done 2>/dev/null`)},
		{"network.txt", "addresses, routes, neighbours, sockets", shell("run ip addr\nrun ip route\nrun ip route show table all\nrun ip -6 route\nrun ip rule\nrun ip neigh\nrun netstat -tuln\nrun cat /etc/resolv.conf /etc/hosts")},
		{"nftables.txt", "rules of nftables: Services, policies, published ports", []string{"nft", "list", "ruleset"}},
		{"containers.txt", "containers, pods and images as containerd has them", shell("run crictl pods\nrun crictl ps -a\nrun crictl images")},
		{"disk.txt", "disk space, inodes, mounts", shell("run df -h\nrun df -i\nrun cat /proc/mounts")},
		{"memory.txt", "memory, load, pressure", shell("run uptime\nrun cat /proc/meminfo\nrun head -n 3 /proc/pressure/cpu /proc/pressure/memory /proc/pressure/io")},
		{"kernel.txt", "kernel, modules, settings of the network", shell("run uname -a\nrun cat /proc/cgroups\nrun sysctl net.ipv4.ip_forward net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max fs.inotify.max_user_instances")},
	}
}

// nodeStates are what nodes look like from inside: a part for each node, so that one that hangs does not hold up others.
func nodeStates(s *sight) []Part {
	var parts []Part
	switch s.driver.(type) {
	case nil:
		return []Part{part{"nodes", nodeLimit, func(context.Context, *Folder) error { return s.nodeErr }}}
	case cluster.Execer:
	default:
		return nil // simulated nodes look like nothing from inside
	}
	execer := s.driver.(cluster.Execer)
	for _, n := range s.info.Nodes {
		parts = append(parts, part{"state of node " + n.Name, nodeLimit, func(ctx context.Context, to *Folder) error {
			if n.State != cluster.NodeRunning {
				return fmt.Errorf("the node is %s", n.State)
			}
			for _, c := range commands() {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				to.Miss("node "+n.Name+", "+c.file, runCommand(ctx, to, execer, n, c))
			}
			return nil
		}})
	}
	return parts
}

// runCommand runs a command in a node into a file. One that fails may have printed why, so that its output is kept.
func runCommand(ctx context.Context, to *Folder, x cluster.Execer, n cluster.Node, c command) error {
	printed := make(chan []byte, 1)
	err := bounded(ctx, commandLimit, func(ctx context.Context) error {
		out, stderr := &tailWriter{max: maxLog}, &tailWriter{max: maxLog}
		code, err := x.Exec(ctx, n, cluster.ExecSpec{Cmd: c.argv, Stdout: out, Stderr: stderr})
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d: %s", code, stderr.rest())
		}
		printed <- out.rest()
		return err
	})
	select {
	case data := <-printed:
		if len(data) > 0 {
			return errors.Join(err, to.Write("nodes/"+safe(n.Name)+"/"+c.file, c.about, data))
		}
	default: // it hangs
	}
	return err
}
