package payload_test

import (
	"context"
	"log"
	"os/exec"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/payload"
)

func Example() {
	ctx := context.Background()
	home := cluster.Home("/home/me/.kl")
	p, err := payload.Ensure(ctx, home) // takes microseconds once it is unpacked
	if err != nil {
		log.Fatal(err)
	}
	plane := exec.CommandContext(ctx, p.Engine, "control-plane", "--dir", home.Cluster("kl").Dir())
	if err := plane.Run(); err != nil {
		log.Fatal(err)
	}
}
