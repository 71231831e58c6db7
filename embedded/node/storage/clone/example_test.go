//go:build linux

package clone_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/klkube/kl/embedded/node/storage/clone"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	source, target := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, d := range []string{filepath.Join(source, "etc"), target} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			panic(err)
		}
	}
	if err := os.WriteFile(filepath.Join(source, "etc", "motd"), []byte("hello"), 0o600); err != nil {
		panic(err)
	}
	changed, err := clone.Tree(context.Background(), source, target)
	if err != nil {
		panic(err)
	}
	text, err := os.ReadFile(filepath.Join(target, "etc", "motd"))
	fmt.Printf("%s, %d files changed meanwhile, %v\n", text, len(changed), err)
	// Output: hello, 0 files changed meanwhile, <nil>
}
