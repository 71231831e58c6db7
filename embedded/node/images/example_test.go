package images_test

import (
	"context"
	"fmt"
	"os"

	"github.com/klkube/kl/embedded/node/images"
)

// Load an archive of `docker save` into the node.
func Example() {
	ctx := context.Background()
	store, err := images.Open("/run/containerd/containerd.sock")
	if err != nil {
		panic(err)
	}
	defer store.Close()
	archive, err := os.Open("web.tar")
	if err != nil {
		panic(err)
	}
	defer archive.Close()
	imported, err := store.Import(ctx, archive)
	if err != nil {
		panic(err)
	}
	for _, image := range imported {
		fmt.Println(image.Names, image.Size)
	}
}
