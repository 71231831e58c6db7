// Command mkimages writes the images of the end-to-end scripts as archives, because the scripts run without a registry.
// Each has one layer: a static busybox, or the program in testdata/images/app.
//
//	go run ./testdata/images/mkimages -out .cache/images -busybox /bin/busybox
//
// It writes
//
//	busybox.tar   docker-archive of kl.test/busybox:1
//	app.tar       docker-archive of kl.test/app:1
//	app-oci.tar   OCI image layout of kl.test/app-oci:1
//	two.tar       docker-archive of kl.test/one:1 and kl.test/two:1
//	iperf3.tar    docker-archive of kl.test/iperf3:1; only with -iperf3
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	out := flag.String("out", ".cache/images", "directory to write to")
	busybox := flag.String("busybox", "/bin/busybox", "a static busybox")
	app := flag.String("app", "./testdata/images/app", "the Go package of the app image")
	iperf3 := flag.String("iperf3", "", "path of Debian's iperf3, to pack together with its libraries")
	flag.Parse()
	err := run(ctx, *out, *busybox, *app)
	if err == nil && *iperf3 != "" {
		err = writeDynamic(ctx, filepath.Join(*out, "iperf3.tar"), "kl.test/iperf3:1", *iperf3)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkimages:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, busybox, app string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	box, err := busyboxImage(ctx, busybox)
	if err != nil {
		return fmt.Errorf("make busybox image: %w", err)
	}
	web, err := appImage(ctx, app)
	if err != nil {
		return fmt.Errorf("make app image: %w", err)
	}
	return errors.Join(
		writeDocker(filepath.Join(out, "busybox.tar"), map[string]v1.Image{"kl.test/busybox:1": box}),
		writeDocker(filepath.Join(out, "app.tar"), map[string]v1.Image{"kl.test/app:1": web}),
		writeDocker(filepath.Join(out, "two.tar"), map[string]v1.Image{"kl.test/one:1": box, "kl.test/two:1": web}),
		writeOCI(filepath.Join(out, "app-oci.tar"), "kl.test/app-oci:1", web),
	)
}

// busyboxImage makes an image of busybox and a link for each of its applets.
func busyboxImage(ctx context.Context, path string) (v1.Image, error) {
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list, err := exec.CommandContext(ctx, path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list applets: %w", err)
	}
	files := []file{{name: "bin/busybox", data: program, mode: 0o755}, {name: "tmp/", mode: 0o1777}, {name: "root/", mode: 0o700}}
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			files = append(files, file{name: "bin/" + applet, link: "busybox"})
		}
	}
	return image(files, v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"sh"}})
}

// appImage builds package pkg and makes an image of it.
func appImage(ctx context.Context, pkg string) (v1.Image, error) {
	dir, err := os.MkdirTemp("", "mkimages")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w\n%s", err, text)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	files := []file{{name: "bin/app", data: program, mode: 0o755}, {name: "tmp/", mode: 0o1777}}
	return image(files, v1.Config{Env: []string{"PATH=/bin"}, Entrypoint: []string{"/bin/app"}, Cmd: []string{"serve"}})
}

func writeDocker(path string, images map[string]v1.Image) error {
	refs := make(map[name.Reference]v1.Image, len(images))
	for tag, img := range images {
		ref, err := name.NewTag(tag)
		if err != nil {
			return err
		}
		refs[ref] = img
	}
	if err := tarball.MultiRefWriteToFile(path, refs); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// epoch is the date of every file and image, so that the same content gives the same image.
func epoch() time.Time { return time.Unix(0, 0).UTC() }
