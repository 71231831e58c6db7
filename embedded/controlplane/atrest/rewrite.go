package atrest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"

	"github.com/klkube/kl/cluster/encryption"
)

const (
	// writers is how many objects are written at a time.
	writers = 8
	// passes is how often a resource is gone through. Objects that others write meanwhile are written with the new key, so that
	// the second pass finds nothing, unless the API server writes with another key than it should.
	passes = 5
	// progressInterval is the shortest time between two lines of progress.
	progressInterval = 100 * time.Millisecond
)

func (s *Server) serveRewrite(w http.ResponseWriter, r *http.Request) {
	var request encryption.RewriteRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, fmt.Sprintf("read request: %v", err), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := &progress{enc: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
	last := encryption.RewriteProgress{Finished: true}
	if err := s.rewrite(r.Context(), request, out); err != nil {
		last = encryption.RewriteProgress{Error: err.Error()}
	}
	out.say(last, true)
}

// progress writes lines; a reader that has gone also ends the request's context.
type progress struct {
	mu    sync.Mutex
	enc   *json.Encoder
	flush func() error
	said  time.Time
}

func (p *progress) say(line encryption.RewriteProgress, always bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !always && time.Since(p.said) < progressInterval {
		return
	}
	p.said = time.Now()
	_ = p.enc.Encode(line)
	_ = p.flush()
}

func (s *Server) rewrite(ctx context.Context, request encryption.RewriteRequest, out *progress) error {
	for _, t := range request.Targets {
		if err := s.rewriteResource(ctx, t, out); err != nil {
			return fmt.Errorf("write %s again: %w", t.Resource, err)
		}
	}
	return nil
}

// rewriteResource goes through the objects of a resource until all are stored under the target's key.
func (s *Server) rewriteResource(ctx context.Context, t encryption.RewriteTarget, out *progress) error {
	key := encryption.Key{Provider: t.Provider, Name: t.Key}
	of := -1
	for pass := 0; ; pass++ {
		var stale []object
		err := s.each(ctx, t.Resource, func(o object) {
			if t.All && pass == 0 || !o.under.Same(key) {
				stale = append(stale, o)
			}
		})
		if err != nil {
			return err
		}
		if of < 0 {
			of = len(stale)
		}
		out.say(encryption.RewriteProgress{Resource: t.Resource, Done: of - len(stale), Of: of}, true)
		switch {
		case len(stale) == 0:
			return nil
		case pass == passes:
			return fmt.Errorf("%d objects, such as %s, are not stored under %s though they have been written again", len(stale), stale[0].path(), key)
		}
		written := func(n int) {
			out.say(encryption.RewriteProgress{Resource: t.Resource, Done: max(0, of-len(stale)) + n, Of: of}, false)
		}
		if err := s.write(ctx, t.Resource, stale, written); err != nil {
			return err
		}
	}
}

func (o object) path() string {
	if o.namespace == "" {
		return o.name
	}
	return o.namespace + "/" + o.name
}

// write writes objects again, unchanged. An object that has changed since it was read has been written by somebody else, and one that
// is gone needs nothing; both are as good.
func (s *Server) write(ctx context.Context, resource string, objects []object, written func(int)) error {
	gvr, err := s.served(resource)
	if err != nil {
		return err
	}
	client, err := metadata.NewForConfig(s.Admin)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	var mu sync.Mutex
	n := 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for _, o := range objects {
		g.Go(func() error {
			patch := fmt.Sprintf(`{"metadata":{"resourceVersion":%q}}`, strconv.FormatInt(o.revision, 10))
			_, err := client.Resource(gvr).Namespace(o.namespace).Patch(ctx, o.name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s: %w", o.path(), err)
			}
			mu.Lock()
			n++
			done := n
			mu.Unlock()
			written(done)
			return nil
		})
	}
	return g.Wait()
}

// served returns the resource in a version that the API server serves, the preferred one first.
func (s *Server) served(resource string) (schema.GroupVersionResource, error) {
	none := schema.GroupVersionResource{}
	client, err := discovery.NewDiscoveryClientForConfig(s.Admin)
	if err != nil {
		return none, fmt.Errorf("make client: %w", err)
	}
	groups, err := client.ServerGroups()
	if err != nil {
		return none, fmt.Errorf("list API groups: %w", err)
	}
	name, group, _ := strings.Cut(resource, ".")
	for _, g := range groups.Groups {
		if g.Name != group {
			continue
		}
		for _, v := range slices.Insert(slices.Clone(g.Versions), 0, g.PreferredVersion) {
			list, err := client.ServerResourcesForGroupVersion(v.GroupVersion)
			if err != nil {
				return none, fmt.Errorf("list resources of %s: %w", v.GroupVersion, err)
			}
			if slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == name }) {
				return schema.GroupVersionResource{Group: group, Version: v.Version, Resource: name}, nil
			}
		}
	}
	return none, errors.New("the API server does not serve the resource, but etcd has objects of it")
}
