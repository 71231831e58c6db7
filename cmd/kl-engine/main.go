// Command kl-engine is every Kubernetes component of kl in one binary. It is started by kl, by kl-init and by pods, with
// its role as the first argument:
//
//	kl-engine control-plane --dir DIR   the control plane of the cluster in DIR
//	kl-engine node                      kubelet, kube-proxy and agent, in a node
//	kl-engine containerd …              the container runtime, in a node
//	kl-engine dns -conf FILE            CoreDNS, in a pod
//	kl-engine kubectl …                 kubectl
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/dns"
)

// version is the version of kl, set by the linker.
var version = "dev"

func main() {
	started := time.Now()
	dns.StripFlags()
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "kl-engine: the role is missing: control-plane, node, containerd, dns or kubectl")
		os.Exit(2)
	}
	role, args := os.Args[1], os.Args[2:]
	if role == "kubectl" { // handles signals itself
		os.Exit(runKubectl(args))
	}
	ctx, stop := signals()
	defer stop()
	var err error
	switch role {
	case string(cluster.ControlPlane):
		err = runControlPlane(ctx, args, started)
	case "node":
		err = runNode(ctx, args)
	case "containerd":
		err = runContainerd(ctx, args)
	case "dns":
		err = runDNS(ctx, args)
	case "version":
		fmt.Println(version)
	default:
		err = fmt.Errorf("role %q is unknown", role)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "kl-engine %s: %v\n", role, err)
		os.Exit(1)
	}
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
