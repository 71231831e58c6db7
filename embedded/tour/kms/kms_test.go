package kms_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	kmsapi "k8s.io/kms/apis/v2"

	"github.com/klkube/kl/embedded/tour/kms"
	"github.com/klkube/kl/embedded/tour/tourtest"
)

func dial(t *testing.T, socket string) kmsapi.KeyManagementServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return kmsapi.NewKeyManagementServiceClient(conn)
}

// newDir is short: it holds a socket.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kms") //nolint:usetesting // sockets need a shorter path than t.TempDir gives
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestPlugin(t *testing.T) {
	dir := newDir(t)
	socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "keys")
	run := tourtest.Start(t, kms.Plugin(), socket, file)
	run.Wait("kms listens")
	for _, path := range []string{socket, file} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	client := dial(t, socket)
	status, err := client.Status(t.Context(), &kmsapi.StatusRequest{})
	if err != nil || status.GetVersion() != "v2" || status.GetHealthz() != "ok" || status.GetKeyId() == "" {
		t.Fatalf("%v, %v", status, err)
	}
	old, err := client.Encrypt(t.Context(), &kmsapi.EncryptRequest{Plaintext: []byte("word"), Uid: "1"})
	if err != nil || old.GetKeyId() != status.GetKeyId() || bytes.Contains(old.GetCiphertext(), []byte("word")) {
		t.Fatalf("%v, %v", old, err)
	}

	rotated := tourtest.Start(t, kms.Plugin(), "--rotate", socket, file)
	id := rotated.Wait(`key (\S+) is the new one`)[1]
	status, err = client.Status(t.Context(), &kmsapi.StatusRequest{})
	if err != nil || status.GetKeyId() != id || id == old.GetKeyId() {
		t.Fatalf("%v, %v, want %s", status, err, id)
	}
	if err := run.Stop(); err != nil {
		t.Fatal(err)
	}

	again := tourtest.Start(t, kms.Plugin(), socket, file) // after a restart, over the same file
	again.Wait("kms listens")
	client = dial(t, socket)
	got, err := client.Decrypt(t.Context(), &kmsapi.DecryptRequest{Ciphertext: old.GetCiphertext(), KeyId: old.GetKeyId()})
	if err != nil || string(got.GetPlaintext()) != "word" {
		t.Errorf("%v, %v", got, err)
	}
	for name, r := range map[string]*kmsapi.DecryptRequest{
		"another key": {Ciphertext: old.GetCiphertext(), KeyId: id},
		"no such key": {Ciphertext: old.GetCiphertext(), KeyId: "x"},
		"short":       {Ciphertext: []byte("x"), KeyId: id},
	} {
		if _, err := client.Decrypt(t.Context(), r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestBadFile(t *testing.T) {
	dir := newDir(t)
	file := filepath.Join(dir, "keys")
	if err := os.WriteFile(file, []byte("abc c2hvcnQ=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{filepath.Join(dir, "s"), file}, {"--rotate", filepath.Join(dir, "s"), file}} {
		if err := tourtest.Start(t, kms.Plugin(), args...).End(); err == nil || !strings.Contains(err.Error(), "line 1 is not an ID and 32 bytes") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
