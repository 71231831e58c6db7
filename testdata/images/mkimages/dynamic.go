package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// writeDynamic writes an image of one of this machine's programs and the libraries it is linked with.
func writeDynamic(ctx context.Context, path, tag, program string) error {
	list, err := exec.CommandContext(ctx, "ldd", program).Output()
	if err != nil {
		return fmt.Errorf("list libraries of %s: %w", program, err)
	}
	files := []file{{name: "tmp/", mode: 0o1777}}
	add := func(name, source string) error {
		data, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		files = append(files, file{name: strings.TrimPrefix(name, "/"), data: data, mode: 0o755})
		return nil
	}
	if err := add("bin/"+filepath.Base(program), program); err != nil {
		return err
	}
	for _, word := range strings.Fields(string(list)) { // libm.so.6 => /lib/…/libm.so.6 (0x…), or only the loader's path
		if strings.HasPrefix(word, "/") {
			if err := add(word, word); err != nil {
				return err
			}
		}
	}
	img, err := image(files, v1.Config{Env: []string{"PATH=/bin"}, Entrypoint: []string{"/bin/" + filepath.Base(program)}})
	if err != nil {
		return fmt.Errorf("make image of %s: %w", program, err)
	}
	return writeDocker(path, map[string]v1.Image{tag: img})
}
