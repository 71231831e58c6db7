package docker_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/docker"
)

// TestWatchImages: what builders and versions of the engine say about an image with a name, and an engine that goes away.
func TestWatchImages(t *testing.T) {
	began := time.Now()
	images := map[string]string{
		"app:dev":     `{"Id":"sha256:11","RepoTags":["app:dev"]}`,
		"sha256:22":   `{"Id":"sha256:22","RepoTags":["one:1","two:2"]}`,
		"one:1":       `{"Id":"sha256:22"}`,
		"two:2":       `{"Id":"sha256:22"}`,
		"sha256:33":   `{"Id":"sha256:33","RepoTags":[]}`,
		"registry/ab": `{"Id":"sha256:44"}`,
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.47") })
	mux.HandleFunc("/v1.47/events", func(w http.ResponseWriter, r *http.Request) {
		if since, want := r.FormValue("since"), fmt.Sprint(began.Unix()); !strings.HasPrefix(since, want) {
			t.Errorf("events since %s, want %s", since, want)
		}
		for _, actor := range []string{
			`{"ID":"sha256:11","Attributes":{"name":"app:dev"}}`, `{"ID":"app:dev","Attributes":{"name":"app:dev"}}`, // tag, of both builders
			`{"ID":"sha256:22","Attributes":{"name":"sha256:22"}}`, // load
			`{"ID":"registry/ab","Attributes":{}}`,                 // pull
			`{"ID":"sha256:33"}`, `{"ID":"sha256:gone"}`, `{"ID":"gone:1"}`,
		} {
			fmt.Fprintf(w, `{"Type":"image","Action":"tag","Actor":%s}`+"\n", actor)
		}
	})
	mux.HandleFunc("/v1.47/images/", func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v1.47/images/"), "/json")
		if text, ok := images[name]; ok {
			fmt.Fprint(w, text)
			return
		}
		http.Error(w, `{"message":"no such image"}`, http.StatusNotFound)
	})
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: mux}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	d, err := docker.New(t.Context(), docker.Options{Home: home(), Host: "unix://" + socket})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var seen []string
	err = d.WatchImages(t.Context(), began, func(name string, image cluster.EngineImage) { seen = append(seen, name+" "+image.ID) })
	if !errors.Is(err, cluster.ErrNoEngine) || strings.Contains(err.Error(), "\n") {
		t.Errorf("when the engine went away: %v", err)
	}
	want := []string{"app:dev sha256:11", "app:dev sha256:11", "one:1 sha256:22", "two:2 sha256:22", "registry/ab sha256:44"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}
