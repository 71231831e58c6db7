package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/cluster/registry"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, home string) *registry.Store {
	t.Helper()
	s := registry.Open(cluster.Home(home))
	t.Cleanup(s.Close)
	return s
}

// serve serves a store until the test ends or stop is called, and returns its address.
func serve(t *testing.T, s *registry.Store, wanted int) (address string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, wanted) }()
	stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve returned %v", err)
		}
		done <- context.Canceled
	}
	t.Cleanup(stop)
	eventually(t, "the registry listens", func() error {
		if s.Port() == 0 {
			return errors.New("it has no port")
		}
		return answers(s.Port())
	})
	return addressOf(s), stop
}

// addressOf is what a store's registry is called now.
func addressOf(s *registry.Store) string { return "localhost:" + strconv.Itoa(s.Port()) }

func answers(port int) error {
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil {
		err = conn.Close()
	}
	return err
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// freePort returns a port that is free now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// image makes an image for this machine.
func image(t *testing.T, layers int64) v1.Image {
	t.Helper()
	return imageFor(t, layers, runtime.GOARCH)
}

// imageOfSize makes an image with a layer of that size, which cannot be compressed.
func imageOfSize(t *testing.T, size int64) v1.Image {
	t.Helper()
	return adjusted(t, size, 1, runtime.GOARCH)
}

func imageFor(t *testing.T, layers int64, arch string) v1.Image {
	t.Helper()
	return adjusted(t, 3000, layers, arch)
}

// adjusted makes an image of random layers.
func adjusted(t *testing.T, size, layers int64, arch string) v1.Image {
	t.Helper()
	img, err := random.Image(size, layers)
	must(t, err)
	config, err := img.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	img, err = mutate.ConfigFile(img, config)
	must(t, err)
	return img
}

func digestOf(t *testing.T, d interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := d.Digest()
	must(t, err)
	return h.String()
}

// same checks that a source is an image: its configuration, and all of its layers.
func same(t *testing.T, s images.Source, want v1.Image) {
	t.Helper()
	list, err := s.Images(t.Context())
	must(t, err)
	config, err := want.ConfigName()
	must(t, err)
	if len(list) != 1 || list[0].ID().String() != config.String() {
		t.Fatalf("found %v, want an image with ID %s", list, config)
	}
	if err := layersOf(t.Context(), s, list[0]); err != nil {
		t.Error(err)
	}
}

// layersOf reads the layers of an image and compares them with their diff IDs.
func layersOf(ctx context.Context, s images.Source, image images.Image) error {
	for _, id := range image.Layers {
		r, err := s.Layer(ctx, id)
		if err != nil {
			return err
		}
		got, err := digest.FromReader(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
		if got != id {
			return fmt.Errorf("layer %s has digest %s", id, got)
		}
	}
	return nil
}

func readAll(r io.ReadCloser) (string, error) {
	data, err := io.ReadAll(r)
	return string(data), errors.Join(err, r.Close())
}
