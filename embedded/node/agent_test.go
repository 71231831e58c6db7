package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

type fakeStore struct {
	images []cluster.Image
	err    error
}

func (s *fakeStore) List(context.Context) ([]cluster.Image, error) { return s.images, s.err }

func (s *fakeStore) Remove(_ context.Context, names []string) error {
	s.images = slices.DeleteFunc(s.images, func(i cluster.Image) bool { return slices.Contains(names, i.Names[0]) })
	return s.err
}

func (s *fakeStore) Loaded(context.Context) ([]cluster.ImageParts, error) {
	return []cluster.ImageParts{{Names: []string{"example.com/a:1"}}}, s.err
}

func (s *fakeStore) Assemble(_ context.Context, parts []cluster.ImageParts) ([]cluster.Image, error) {
	var made []cluster.Image
	for _, p := range parts {
		made = append(made, cluster.Image{Names: p.Names, Digest: "sha256:1"})
	}
	s.images = append(s.images, made...)
	return made, s.err
}

func (s *fakeStore) Import(_ context.Context, archive io.Reader) ([]cluster.Image, error) {
	name, err := io.ReadAll(archive)
	if err != nil || s.err != nil {
		return nil, errors.Join(err, s.err)
	}
	image := cluster.Image{Names: []string{string(name)}, Digest: "sha256:1"}
	s.images = append(s.images, image)
	return []cluster.Image{image}, nil
}

func TestAgentImages(t *testing.T) {
	store := &fakeStore{}
	server := httptest.NewServer(agentHandler("n1", "v1", store, slog.New(slog.DiscardHandler)))
	defer server.Close()
	want := []cluster.Image{{Names: []string{"example.com/a:1"}, Digest: "sha256:1"}}
	for _, request := range []func() (*http.Response, error){
		func() (*http.Response, error) {
			return server.Client().Post(server.URL+"/v1/images", "", strings.NewReader("example.com/a:1"))
		},
		func() (*http.Response, error) { return server.Client().Get(server.URL + "/v1/images") },
	} {
		resp, err := request()
		if err != nil {
			t.Fatal(err)
		}
		var got []cluster.Image
		err = json.NewDecoder(resp.Body).Decode(&got)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("status %s, err %v", resp.Status, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, server.URL+"/v1/images?name=example.com%2Fb%3A1&name=example.com%2Fa%3A1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK || len(store.images) > 0 {
		t.Fatalf("delete: %v, images are %v", err, store.images)
	}
	store.err = errors.New("not an archive")
	resp, err = server.Client().Post(server.URL+"/v1/images", "", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusUnprocessableEntity || string(body) != "not an archive\n" {
		t.Errorf("status %s, body %q", resp.Status, body)
	}
}

func TestReadMemory(t *testing.T) {
	proc := t.TempDir()
	for pid, p := range map[string]struct{ cmdline, status string }{
		"1":       {"/usr/local/bin/kl-init\x00", "RssAnon:\t    1024 kB\nRssFile:\t 9 kB\n"},
		"7":       {"/usr/local/bin/kl-engine\x00containerd\x00", "RssAnon:\t    2048 kB\n"},
		"8":       {"/usr/local/bin/kl-engine\x00node\x00", "RssAnon:\t    4096 kB\n"},
		"20":      {"/usr/local/bin/containerd-shim-runc-v2\x00-id\x00a\x00", "RssAnon:\t    8192 kB\n"},
		"21":      {"/usr/local/bin/containerd-shim-runc-v2\x00-id\x00b\x00", "RssAnon:\t    8192 kB\n"},
		"30":      {"/bin/pod\x00node\x00", "RssAnon:\t   99999 kB\n"},
		"31":      {"kl-engine\x00dns\x00", "RssAnon:\t   99999 kB\n"}, // a pod
		"2":       {"", "RssAnon:\t   99999 kB\n"},                     // a zombie
		"nothing": {"/usr/local/bin/kl-init\x00", "RssAnon:\t 99999 kB\n"},
	} {
		dir := filepath.Join(proc, pid)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string]string{"cmdline": p.cmdline, "status": p.status} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := readMemory(proc)
	if err != nil {
		t.Fatal(err)
	}
	want := Memory{Init: 1 << 20, Containerd: 2 << 20, Node: 4 << 20, Shims: 16 << 20, ShimCount: 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Total() != 23<<20 {
		t.Errorf("total = %d", got.Total())
	}
}
