//go:build linux

package driver_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/klkube/kl/embedded/node/storage"
	"github.com/klkube/kl/embedded/node/storage/driver"
	"github.com/klkube/kl/embedded/node/storage/quota"
)

func Example() {
	ctx := context.Background()
	s := &driver.Server{
		Node: "n1", Version: "v1.0.0", Kubelet: "/var/lib/kubelet", Disks: driver.Disks{Dir: "/mnt/disks"},
		Local:  &driver.Store{Kind: storage.NodeLocal, Dir: "/var/lib/kl/volumes", Quota: quota.Of("/var/lib/kl/volumes")},
		Shared: &driver.Store{Kind: storage.Shared, Dir: "/mnt/shared", Quota: quota.Of("/mnt/shared")},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	mux := http.NewServeMux()
	mux.Handle(storage.StatePath+"/", s.Handler())     // the control plane creates and deletes volumes
	err := s.Run(ctx, func() { fmt.Println("ready") }) // the kubelet mounts them
	fmt.Println(err)
}
