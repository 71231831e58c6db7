// Command kl-engine is every Kubernetes component of kl in one binary. It is started by kl, by kl-init and by pods, with
// its role as the first argument:
//
//	kl-engine control-plane --dir DIR   the control plane of the cluster in DIR
//	kl-engine node                      kubelet, kube-proxy and agent, in a node
//	kl-engine containerd …              the container runtime, in a node
//	kl-engine dns -conf FILE            CoreDNS, in a pod
//	kl-engine kubectl …                 kubectl
//	kl-engine tour PROGRAM [flags]      a program of a scenario of kl tour, in a pod; tour --help lists them
//	kl-engine losetup …                 attaches a loop device for the kubelet, in a node
//	kl-engine prune-images [--all]      removes images that no container uses, in a node
//	kl-engine check control-plane DIR   says on standard output what the control plane of the cluster in DIR would refuse in
//	                                    the cluster.yaml on standard input; check node, what a node would in a node.json
//	kl-engine version                   prints kl's version
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // time zones of CronJobs, on machines without /usr/share/zoneinfo

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/dns"
	"github.com/klkube/kl/embedded/node/storage/loop"
	"github.com/klkube/kl/embedded/tour"
)

// version is the version of kl, set by the linker.
var version = "dev"

// role is a way to run the program. run returns once ctx is done or it fails.
type role struct {
	name string
	run  func(ctx context.Context, args []string) error
}

// roles are the roles other than kubectl, which handles signals and its exit code itself.
func roles(started time.Time) []role {
	return []role{
		{string(cluster.ControlPlane), func(ctx context.Context, args []string) error { return runControlPlane(ctx, args, started) }},
		{"node", runNode},
		{"containerd", runContainerd},
		{"dns", runDNS},
		{"prune-images", runPruneImages},
		{"losetup", func(_ context.Context, args []string) error { return loop.Losetup(args) }},
		{"check", runCheck},
		{"tour", runTour},
		{"version", printVersion},
	}
}

func main() {
	started := time.Now()
	dns.StripFlags()
	roles := roles(started)
	if len(os.Args) < 2 {
		fmt.Fprintf(os.Stderr, "kl-engine: the role is missing: one of %s\n", names(roles))
		os.Exit(2)
	}
	name, args := os.Args[1], os.Args[2:]
	if name == "kubectl" {
		os.Exit(runKubectl(args))
	}
	i := slices.IndexFunc(roles, func(r role) bool { return r.name == name })
	if i < 0 {
		fmt.Fprintf(os.Stderr, "kl-engine: unknown role %q: want one of %s\n", name, names(roles))
		os.Exit(2)
	}
	if dir := profileDir(name, args); dir != "" {
		if err := startProfile(dir, name, started); err != nil {
			fmt.Fprintf(os.Stderr, "kl-engine %s: profile: %v\n", name, err)
			os.Exit(1)
		}
	}
	ctx, stop := signals()
	defer stop()
	if err := roles[i].run(ctx, args); err != nil {
		fmt.Fprintf(os.Stderr, "kl-engine %s: %v\n", name, err)
		if usage := (*tour.UsageError)(nil); errors.As(err, &usage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func names(roles []role) string {
	var b strings.Builder
	for _, r := range roles {
		b.WriteString(r.name + ", ")
	}
	return b.String() + "kubectl"
}

func printVersion(context.Context, []string) error {
	_, err := fmt.Println(version)
	return err
}

// signals returns a context that the first SIGTERM or SIGINT cancels. The second one exits the process.
func signals() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		sig := <-ch
		cancel(fmt.Errorf("signal: %s", sig))
		<-ch
		os.Exit(1)
	}()
	return ctx, func() { cancel(nil) }
}
