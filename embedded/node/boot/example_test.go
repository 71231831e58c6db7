package boot_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/klkube/kl/embedded/node/boot"
)

// What PID 1 of a node does.
func Example() {
	ctx, stop := context.WithCancel(context.Background()) // cancelled by SIGTERM
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	machine := boot.Machine{Root: "/", Kernel: boot.Linux{}, Gateway: "10.245.0.1", Logger: log}
	facts, err := machine.Prepare() // mounts, cgroups, devices, sysctls, resolv.conf
	if err != nil {
		panic(err)
	}
	fmt.Println("cgroup version", facts.CgroupVersion)
	supervisor := boot.Supervisor{
		Processes: boot.NewChildren(context.WithoutCancel(ctx)),
		Programs:  []boot.Program{{Name: "containerd", Path: "/usr/local/bin/kl-engine", Args: []string{"containerd"}, Output: os.Stderr}},
		Logger:    log,
	}
	if err := supervisor.Run(ctx); err != nil { // until ctx is done and no other process runs
		panic(err)
	}
	if err := machine.Release(); err != nil {
		panic(err)
	}
}
