package registry_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/registry"
)

// serveHome is set in processes of TestKilled, which serve the registry of that home.
const serveHome = "KL_TEST_REGISTRY_HOME"

func TestMain(m *testing.M) {
	if home := os.Getenv(serveHome); home != "" {
		port, _ := strconv.Atoi(os.Args[1])
		fmt.Fprintln(os.Stderr, registry.Open(cluster.Home(home)).Serve(context.Background(), port))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestKilled kills the process that serves at different moments of a push, and has another one take over: no blob is there that is not
// whole, and the same push, given again, succeeds.
func TestKilled(t *testing.T) {
	home := t.TempDir()
	s := open(t, home)
	port := freePort(t)
	start := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0], strconv.Itoa(port))
		cmd.Env, cmd.Stderr = append(os.Environ(), serveHome+"="+home), os.Stderr
		must(t, cmd.Start())
		return cmd
	}
	serving := start()
	for i := range 8 {
		next := start() // waits for its turn
		eventually(t, "the registry listens", func() error { return answers(port) })
		img := image(t, 20)
		pushed := make(chan error, 1)
		go func() {
			pushed <- remote.Write(tag(t, fmt.Sprintf("localhost:%d/app:%d", port, i)), img, remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
		}()
		select {
		case <-pushed:
		case <-time.After(time.Duration(i*10) * time.Millisecond):
		}
		must(t, serving.Process.Kill())
		_ = serving.Wait() // it was killed
		died := time.Now()
		eventually(t, "another process serves", func() error { return answers(port) })
		if took := time.Since(died); took > 2*time.Second {
			t.Errorf("another process serves after %s", took)
		}
		checkBlobs(t, home)
		must(t, remote.Write(tag(t, fmt.Sprintf("localhost:%d/app:%d", port, i)), img))
		found, _, err := s.Find(t.Context(), fmt.Sprintf("localhost:%d/app:%d", port, i))
		must(t, err)
		same(t, found, img)
		serving = next
	}
	must(t, serving.Process.Kill())
	_ = serving.Wait() // it was killed
	if s.Port() != port {
		t.Errorf("the registry has moved to port %d", s.Port())
	}
}

// checkBlobs checks that every blob is what its name says.
func checkBlobs(t *testing.T, home string) {
	t.Helper()
	dir := filepath.Join(home, "registry", "blobs", "sha256")
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // of a writer that was killed
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		if got := digest.FromBytes(data); got.Encoded() != e.Name() {
			t.Errorf("blob %s has digest %s", e.Name(), got)
		}
	}
}

// TestPortTaken: if another program has the port, the next one is taken and kept. What was pushed at another port is found under its name.
func TestPortTaken(t *testing.T) {
	home := t.TempDir()
	wanted := freePort(t)
	s := open(t, home)
	at, stop := serve(t, s, wanted)
	if s.Port() != wanted {
		t.Fatalf("the registry is at port %d, want %d", s.Port(), wanted)
	}
	img := image(t, 1)
	must(t, remote.Write(tag(t, at+"/app:1"), img))
	stop()

	other, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(wanted)))
	must(t, err)
	second := open(t, home)
	_, stop = serveAnew(t, second, wanted, wanted)
	moved := second.Port()
	if moved <= wanted {
		t.Errorf("the registry is at port %d", moved)
	}
	stop()
	must(t, other.Close())
	third := open(t, home)
	_, stop = serveAnew(t, third, wanted, 0)
	if third.Port() != moved {
		t.Errorf("the registry has moved back to port %d", third.Port())
	}
	found, _, err := third.Find(t.Context(), at+"/app:1")
	must(t, err)
	same(t, found, img)
	found, _, err = third.Find(t.Context(), fmt.Sprintf("localhost:%d/app:1", moved))
	must(t, err)
	same(t, found, img)
	stop()
	fourth := open(t, home)
	free := freePort(t)
	serveAnew(t, fourth, free, moved)
	if fourth.Port() != free {
		t.Errorf("another port is wanted, and the registry is at %d", fourth.Port())
	}
}

// serveAnew is serve for a registry that has had a port, and moves from there.
func serveAnew(t *testing.T, s *registry.Store, wanted, from int) (string, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ctx, wanted)
	}()
	stop := func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	eventually(t, "the registry listens", func() error {
		if s.Port() == from {
			return fmt.Errorf("it is still at port %d", from)
		}
		return answers(s.Port())
	})
	return addressOf(s), stop
}
