// Command kl runs Kubernetes clusters on this machine. See package cmd for what it can do.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	osuser "os/user"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/docker"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/kltest/holder"
	"github.com/klkube/kl/cluster/native"
	"github.com/klkube/kl/cluster/service"
	"github.com/klkube/kl/cmd"
	"github.com/klkube/kl/embedded/payload"
	"github.com/klkube/kl/ui/quiet"
)

// The versions of kl and of the programs in its payload, set by the linker (KL_LDFLAGS in the Makefile).
var version, etcdVersion, containerdVersion, corednsVersion string

// supersededAfter is how long the payload of another version of kl is kept after its last use.
const supersededAfter = 14 * 24 * time.Hour

func main() {
	quiet.Restore()
	os.Exit(run())
}

func run() int {
	if len(os.Args) == 4 && os.Args[1] == host.SuperviseCommand { // started by this program, not by a person
		return host.Supervise(os.Args[2], os.Args[3], mendNodes)
	}
	if len(os.Args) > 1 && os.Args[1] == holder.Command { // started by kl run or cluster/kltest, not by a person
		return hold(os.Args[2:])
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := watchSignals(cancel)
	if len(os.Args) == 3 && os.Args[1] == native.SuperviseCommand { // started by the embedded driver, not by a person
		return native.Supervise(ctx, os.Args[2])
	}
	homeDir := userHome()
	home := os.Getenv("KL_HOME")
	if home == "" && homeDir != "" {
		home = filepath.Join(homeDir, ".kl")
	}
	if home != "" {
		var err error
		if home, err = filepath.Abs(home); err != nil {
			fmt.Fprintln(os.Stderr, "kl: find $KL_HOME:", err)
			return 1
		}
	}
	return cmd.Main(ctx, environment(home, homeDir, signals), os.Args[1:])
}

// environment is this process and this machine, with home as $KL_HOME.
func environment(home, homeDir string, signals *interrupts) cmd.Env {
	return cmd.Env{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Logger: logger(), Getenv: os.Getenv, UserHome: homeDir, Home: cluster.Home(home),
		Version: versions(),
		Payload: func(ctx context.Context) (cluster.Payload, error) { return payload.Ensure(ctx, cluster.Home(home)) },
		Prune: func(ctx context.Context, keep []string) error {
			_, err := payload.Prune(ctx, cluster.Home(home), keep, supersededAfter)
			return err
		},
		KubernetesOf: func(sha string) (string, error) {
			m, err := payload.ReadManifest(cluster.Home(home).PayloadDir(sha))
			if err != nil {
				return "", err
			}
			return m.Versions["kubernetes"], nil
		},
		Drivers: []cmd.DriverFactory{
			{Name: cluster.DriverDocker, Open: openDocker(home)},
			{Name: cluster.DriverEmbedded, Open: openNative(home)},
		},
		Simulate: simulate, StartAtBoot: startAtBoot, Exec: syscall.Exec,
		Elsewhere: func(home cluster.Home) cmd.Env { return environment(string(home), homeDir, signals) },
		Signals:   signals.pass,
	}
}

// hold keeps a cluster for as long as another process lives. That may replace or remove the file of this program meanwhile.
func hold(args []string) int {
	program := "/proc/self/exe"
	if _, err := os.Stat(program); err != nil {
		if program, err = os.Executable(); err != nil {
			fmt.Fprintln(os.Stderr, "kl: find this program:", err)
			return 1
		}
	}
	return holder.Run(program, args, os.Stdin, os.Stdout, os.Stderr)
}

// userHome returns the home directory of whoever runs this process; empty for a user who has none.
func userHome() string {
	if home := os.Getenv("HOME"); home != "" {
		return home
	}
	if who, err := osuser.Current(); err == nil {
		return who.HomeDir
	}
	return ""
}

func openDocker(home string) func(context.Context, *slog.Logger) (cluster.Driver, error) {
	return func(ctx context.Context, log *slog.Logger) (cluster.Driver, error) {
		d, err := docker.New(ctx, docker.Options{Home: cluster.Home(home), Logger: log})
		if err != nil {
			return nil, err // not d: an interface with a nil pointer in it is not nil
		}
		return d, nil
	}
}

func openNative(home string) func(context.Context, *slog.Logger) (cluster.Driver, error) {
	return func(ctx context.Context, log *slog.Logger) (cluster.Driver, error) {
		d, err := native.New(ctx, native.Options{Home: home, Logger: log})
		if err != nil {
			return nil, err
		}
		return d, nil
	}
}

// mendNodes replaces the supervisors of nodes that were killed. Docker needs no such thing: the engine watches its containers.
func mendNodes(ctx context.Context, l cluster.Layout) error {
	spec, err := cluster.ReadSpec(l)
	if err != nil || spec.Driver != cluster.DriverEmbedded {
		return err
	}
	d, err := openNative(string(l.Home))(ctx, nil)
	if err != nil {
		return err
	}
	defer d.Close()
	if m, ok := d.(cluster.Mender); ok {
		return m.Mend(ctx, l.Name)
	}
	return nil
}

func startAtBoot(ctx context.Context, l cluster.Layout, on bool) (cluster.Autostart, error) {
	program, err := os.Executable()
	if err != nil {
		return cluster.Autostart{}, fmt.Errorf("find kl: %w", err)
	}
	m, err := service.Here(program, os.Environ())
	if err != nil {
		return cluster.Autostart{}, err
	}
	return m.Set(ctx, l, on)
}

// logger is nil, which discards, unless KL_DEBUG is set.
func logger() *slog.Logger {
	if os.Getenv("KL_DEBUG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// versions takes Kubernetes' version from that of its libraries, which are numbered v0.y.z for v1.y.z.
func versions() cmd.Version {
	v := cmd.Version{KL: version, Etcd: etcdVersion, Containerd: containerdVersion, CoreDNS: corednsVersion}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if v.KL == "" {
		v.KL = strings.Trim(info.Main.Version, "()")
	}
	for _, dep := range info.Deps {
		if dep.Path != "k8s.io/apimachinery" {
			continue
		}
		if dep.Replace != nil {
			dep = dep.Replace
		}
		v.Kubernetes = strings.Replace(dep.Version, "v0.", "v1.", 1)
	}
	return v
}
