package cmd

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/term"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

// DriverFactory opens a driver. Open returns an error that wraps cluster.ErrNoEngine if the driver cannot be used on this
// machine.
type DriverFactory struct {
	Name cluster.DriverName
	Open func(context.Context, *slog.Logger) (cluster.Driver, error)
}

// Env is everything that commands use of the process and the machine. main passes the real one, tests a fake.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Logger   *slog.Logger // nil discards
	Getenv   func(string) string
	UserHome string // home directory, which holds .kube/config; empty if there is none
	Home     cluster.Home
	Version  Version
	Payload  func(context.Context) (cluster.Payload, error)
	Prune    func(ctx context.Context, keep []string) error // removes other payloads; nil keeps them
	// KubernetesOf is host.Host.KubernetesOf.
	KubernetesOf func(sha string) (string, error)
	// Drivers are tried in this order by --driver auto.
	Drivers []DriverFactory
	// Simulate is host.Host.Simulate.
	Simulate func(ctx context.Context, l cluster.Layout, s cluster.Spec, progress func(done, of int)) error
	// StartAtBoot is host.Host.StartAtBoot.
	StartAtBoot func(ctx context.Context, l cluster.Layout, on bool) (cluster.Autostart, error)
	// Exec replaces this process, as syscall.Exec does.
	Exec func(program string, args, environ []string) error
	// Elsewhere is the same with another home.
	Elsewhere func(home cluster.Home) Env
	// Signals has signals to this process given to take, which must not block, until restore is called, instead of ending the command; nil
	// if there are none.
	Signals func(take func(os.Signal)) (restore func())
}

// env is Env with the flags that all commands share.
type env struct {
	Env
	name    string             // --name
	loading func(host.Loading) // of host.Host
}

func newEnv(e Env) *env {
	if e.Logger == nil {
		e.Logger = slog.New(slog.DiscardHandler)
	}
	if e.Getenv == nil {
		e.Getenv = func(string) string { return "" }
	}
	return &env{Env: e, name: cmp.Or(e.Getenv("KL_CLUSTER"), cluster.DefaultName)}
}

// host returns a Host that reports its events to show, which may be nil.
func (e *env) host(show func(cluster.Event)) *host.Host {
	if show != nil {
		// A verb that changes the cluster goes on when nobody reads its output any more, as with kl down | head -1: half done
		// would be worse.
		signal.Ignore(syscall.SIGPIPE)
	}
	return &host.Host{
		Home: e.Home, OpenDriver: e.openDriver, Drivers: e.driverNames(), Payload: e.Payload, Prune: e.Prune,
		Kubernetes: e.Version.Kubernetes, KubernetesOf: e.KubernetesOf, Events: show, Logger: e.Logger, Kubeconfigs: e.kubeconfigs(),
		Simulate: e.Simulate, Preflight: e.preflight, StartAtBoot: e.StartAtBoot, Kubectl: e.runKubectl, Loading: e.loading,
	}
}

func (e *env) layout() cluster.Layout { return e.Home.Cluster(e.name) }

// openDriver opens the named driver.
func (e *env) openDriver(ctx context.Context, name cluster.DriverName) (cluster.Driver, error) {
	for _, f := range e.Drivers {
		if name == f.Name {
			return f.Open(ctx, e.Logger)
		}
	}
	return nil, usageError{fmt.Errorf("unknown driver %q: use auto, %s", name, joinNames(e.driverNames()))}
}

func (e *env) driverNames() []cluster.DriverName {
	var names []cluster.DriverName
	for _, f := range e.Drivers {
		names = append(names, f.Name)
	}
	return names
}

// kubeconfigs returns the files that kubectl reads, in the same order.
func (e *env) kubeconfigs() []string {
	var files []string
	for _, f := range filepath.SplitList(e.Getenv("KUBECONFIG")) {
		if f != "" && !slices.Contains(files, f) {
			files = append(files, f)
		}
	}
	if files == nil && e.UserHome != "" {
		files = []string{filepath.Join(e.UserHome, ".kube", "config")}
	}
	return files
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colour reports whether output is coloured: on terminals, unless the user objects (https://no-color.org).
func (e *env) colour() bool {
	return isTerminal(e.Out) && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb"
}
