package images_test

import (
	"context"
	"fmt"
	"io"

	"github.com/klkube/kl/cluster/images"
)

// What `kl image load` does with a file: it reads only the layers that nodes lack.
func Example() {
	ctx := context.Background()
	archive := images.Archive{Path: "app.tar"}
	if _, err := archive.Images(); err != nil { // it is checked as a whole first
		panic(err)
	}
	source, err := archive.Open()
	if err != nil {
		panic(err)
	}
	defer source.Close()
	list, err := source.Images(ctx)
	if err != nil {
		panic(err)
	}
	for _, image := range list {
		top, err := source.Layer(ctx, image.Layers[len(image.Layers)-1])
		if err != nil {
			panic(err)
		}
		n, _ := io.Copy(io.Discard, top)
		fmt.Println(image.Names, n, top.Close())
	}
}
