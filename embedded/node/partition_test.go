package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/knftables"
)

func TestPartition(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "hub.sock")
	hub, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	state := t.TempDir()
	fake := knftables.NewFake(knftables.InetFamily, "kl-partition")
	p := &partition{
		file: filepath.Join(state, "partitioned"), socket: socket, uplink: "eth0", nft: fake, log: slog.New(slog.DiscardHandler),
	}
	stale := fake.NewTransaction() // left by an earlier process
	stale.Add(&knftables.Table{})
	if err := fake.Run(t.Context(), stale); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- p.Run(ctx, func() { close(ready) }) }()
	<-ready
	if left := fake.Dump(); left != "" {
		t.Errorf("a partition of an earlier process is left:\n%s", left)
	}

	conn, err := p.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the tunnel's connection is not closed: %v", err)
	}
	if _, err := p.dial(ctx); !errors.Is(err, errPartitioned) {
		t.Errorf("dial gives %v, want a refusal", err)
	}
	eventually(t, func() bool { return strings.Count(fake.Dump(), "drop") == 4 }, fake.Dump)

	if err := os.Remove(p.file); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return fake.Dump() == "" }, fake.Dump)
	again, err := p.dial(ctx)
	if err != nil {
		t.Errorf("dial after the partition: %v", err)
	} else {
		again.Close()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
}

// eventually waits until ok, which an inotify event makes true.
func eventually(t *testing.T, ok func() bool, dump func() string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not reached; the table is:\n%s", dump())
		}
	}
}
