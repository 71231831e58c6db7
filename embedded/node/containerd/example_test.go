package containerd_test

import (
	"context"
	"fmt"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/boot"
	"github.com/klkube/kl/embedded/node/containerd"
)

// What `kl-engine containerd` does.
func Example() {
	facts, err := boot.ReadFacts(boot.FactsFile)
	if err != nil {
		panic(err)
	}
	mirrors := map[string][]string{"docker.io": {"http://mirror:5000"}}
	if err := containerd.WriteConfig("/", facts, cluster.NodeConfig{Mirrors: mirrors}); err != nil {
		panic(err)
	}
	if err := containerd.Run(context.Background(), []string{"--config", containerd.ConfigFile}); err != nil { // until SIGTERM
		panic(err)
	}
}

func ExampleMirrorFiles() {
	files, err := containerd.MirrorFiles(map[string][]string{"docker.io": {"http://mirror:5000"}})
	if err != nil {
		panic(err)
	}
	fmt.Print(files["docker.io/hosts.toml"])
	// Output:
	// server = "https://registry-1.docker.io"
	//
	// [host."http://mirror:5000"]
	//   capabilities = ["pull", "resolve"]
}
