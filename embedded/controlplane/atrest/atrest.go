// Package atrest answers what objects of a running cluster are encrypted under in etcd, and has them written again. The answers come
// from etcd's bytes and from the API server's metrics, so that nothing has to be believed.
package atrest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/encryption"
)

// Store is etcd.
type Store interface {
	Range(context.Context, *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error)
}

// Server serves on the status socket:
//
//	GET  /v1/encryption?resource=R  a list of encryption.Tally; of the configured resources if none is named
//	GET  /v1/encryption/loaded?hash=H  answers once the API server has loaded the file with that hash, or says why it does not
//	POST /v1/encryption/rewrite  an encryption.RewriteRequest; a stream of encryption.RewriteProgress
type Server struct {
	Layout cluster.Layout
	Store  func() Store // nil while etcd does not serve
	Admin  *rest.Config
	// Loaded returns the hash of the configuration that the API server uses, and how often it could not load one.
	Loaded func() (hash string, failures float64, err error)
}

// Register adds the routes.
func (s *Server) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/encryption", s.serveTallies)
	mux.HandleFunc("GET /v1/encryption/loaded", s.serveLoaded)
	mux.HandleFunc("POST /v1/encryption/rewrite", s.serveRewrite)
}

func (s *Server) serveTallies(w http.ResponseWriter, r *http.Request) {
	resources := r.URL.Query()["resource"]
	if len(resources) == 0 {
		c, _, err := encryption.Read(s.Layout)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		resources = c.Resources()
	}
	tallies := make([]encryption.Tally, 0, len(resources))
	for _, name := range resources {
		t := encryption.Tally{Resource: name}
		if err := s.each(r.Context(), name, func(o object) { t.Count(o.under) }); err != nil {
			http.Error(w, fmt.Sprintf("count %s in etcd: %v", name, err), http.StatusServiceUnavailable)
			return
		}
		tallies = append(tallies, t)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(tallies) // a reader that has gone
}

// object is an object as etcd holds it.
type object struct {
	namespace, name string
	revision        int64 // metadata.resourceVersion
	under           encryption.Key
}

// pageSize is how many objects are read at a time. Values come whole, and may have a megabyte each.
const pageSize = 100

var errNoStore = errors.New("etcd does not serve yet")

// each calls f with every object of a resource.
func (s *Server) each(ctx context.Context, resource string, f func(object)) error {
	store := s.Store()
	if store == nil {
		return errNoStore
	}
	prefix := Prefix(resource)
	from, end := []byte(prefix), []byte(prefix[:len(prefix)-1]+"0") // "0" follows "/"
	var revision int64                                              // all pages show one moment
	for {
		page, err := store.Range(ctx, &etcdserverpb.RangeRequest{Key: from, RangeEnd: end, Limit: pageSize, Revision: revision})
		if err != nil {
			return err
		}
		revision = page.Header.Revision
		for _, kv := range page.Kvs {
			o := object{revision: kv.ModRevision, under: encryption.Under(kv.Value), name: strings.TrimPrefix(string(kv.Key), prefix)}
			if namespace, name, ok := strings.Cut(o.name, "/"); ok {
				o.namespace, o.name = namespace, name
			}
			f(o)
		}
		if !page.More || len(page.Kvs) == 0 {
			return nil
		}
		from = append(page.Kvs[len(page.Kvs)-1].Key, 0)
	}
}

// Prefix is what the keys of a resource's objects begin with in etcd.
func Prefix(resource string) string {
	name, group, _ := strings.Cut(resource, ".")
	switch {
	case !scheme.Scheme.IsGroupRegistered(group): // custom resources, and those of API servers within the API server
		name = group + "/" + name
	case special()[resource] != "":
		name = special()[resource]
	}
	return "/registry/" + name + "/"
}

// special are the prefixes that are not the resource's name.
func special() map[string]string {
	return map[string]string{
		"replicationcontrollers": "controllers", "endpoints": "services/endpoints", "services": "services/specs", "nodes": "minions",
		"ingresses.networking.k8s.io": "ingress",
	}
}

// loadPoll is how often the API server's metrics are read. They send no event.
const loadPoll = 50 * time.Millisecond

func (s *Server) serveLoaded(w http.ResponseWriter, r *http.Request) {
	want := r.URL.Query().Get("hash")
	_, before, err := s.Loaded()
	tick := time.NewTicker(loadPoll)
	defer tick.Stop()
	for err == nil {
		var hash string
		var failures float64
		hash, failures, err = s.Loaded()
		switch {
		case err != nil:
		case hash == want:
			w.WriteHeader(http.StatusNoContent)
			return
		case failures > before:
			http.Error(w, "the API server cannot load it", http.StatusConflict)
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
	http.Error(w, fmt.Sprintf("read metrics: %v", err), http.StatusInternalServerError)
}
