package service_test

import (
	"context"
	"fmt"
	"log"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/service"
)

func Example() {
	m := service.Manager{Program: "/usr/local/bin/kl", UnitDir: "/etc/systemd/system", Target: "multi-user.target", Root: "/"}
	// Writes and enables kl-demo.service.
	installed, err := m.Set(context.Background(), cluster.Home("/root/.kl").Cluster("demo"), true)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(installed.Path, installed.Note)
}
