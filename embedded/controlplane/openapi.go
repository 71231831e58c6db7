package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"

	"github.com/emicklei/go-restful/v3"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/handler3"
)

const (
	openAPIV2Path = "/openapi/v2"
	openAPIV3Path = "/openapi/v3"
)

// lazyOpenAPI serves the OpenAPI documents of Kubernetes' own resources. Upstream builds all of them before the server answers its first
// request: that is a third of its start, and 40 MB, for documents that few ask for (kubectl explain, and old clients). Here upstream's code
// builds each when it is asked for.
type lazyOpenAPI struct {
	v2 func() http.Handler
	v3 map[string]func() http.Handler // by path, such as "apis/apps/v1"

	mu    sync.Mutex
	built map[string]string // path to the URL of its document, with its hash
}

// serveOpenAPI makes the server of Kubernetes' own resources serve its documents lazily. It is called before PrepareRun, which would
// install them, and must be told not to (SkipOpenAPIInstallation).
func serveOpenAPI(server genericapiserver.DelegationTarget, v2 *common.Config, v3 *common.OpenAPIV3Config) error {
	kube, ok := server.(*genericapiserver.GenericAPIServer)
	if !ok || v2 == nil || v3 == nil {
		return errors.New("serve OpenAPI: upstream's servers are put together in another way than this version of kl knows")
	}
	l := newLazyOpenAPI(kube.Handler.GoRestfulContainer, v2, v3)
	handler := kube.Handler.NonGoRestfulMux
	handler.HandleFunc(openAPIV2Path, func(w http.ResponseWriter, r *http.Request) { l.v2().ServeHTTP(w, r) })
	handler.HandleFunc(openAPIV3Path, l.index)
	handler.HandlePrefix(openAPIV3Path+"/", http.HandlerFunc(l.document))
	return nil
}

func newLazyOpenAPI(container *restful.Container, v2 *common.Config, v3 *common.OpenAPIV3Config) *lazyOpenAPI {
	l := &lazyOpenAPI{v3: map[string]func() http.Handler{}, built: map[string]string{}}
	l.v2 = sync.OnceValue(func() http.Handler {
		m := mux.NewPathRecorderMux("openapi-v2")
		routes.OpenAPI{Config: v2}.InstallV2(container, m)
		return m
	})
	for _, service := range container.RegisteredWebServices() {
		path := strings.TrimPrefix(service.RootPath(), "/") // of several with one path upstream takes the last, too
		l.v3[path] = sync.OnceValue(func() http.Handler {
			only := restful.NewContainer()
			only.Add(service)
			m := mux.NewPathRecorderMux("openapi-v3")
			routes.OpenAPI{V3Config: v3}.InstallV3(only, m)
			l.note(m)
			return m
		})
	}
	return l
}

// note remembers the URLs of the documents that a handler serves.
func (l *lazyOpenAPI) note(handler http.Handler) {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, openAPIV3Path, http.NoBody))
	var index handler3.OpenAPIV3Discovery
	if err := json.Unmarshal(w.Body.Bytes(), &index); err != nil {
		return // clients do without the hash
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for path, item := range index.Paths {
		l.built[path] = item.ServerRelativeURL
	}
}

// index lists the documents. A document that was not built has a URL without the hash that lets clients keep it without asking again.
func (l *lazyOpenAPI) index(w http.ResponseWriter, _ *http.Request) {
	index := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	l.mu.Lock()
	for path := range l.v3 {
		at := l.built[path]
		if at == "" {
			at = (&url.URL{Path: openAPIV3Path + "/" + path}).String()
		}
		index.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: at}
	}
	l.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(index) // fails only if the client has gone
}

func (l *lazyOpenAPI) document(w http.ResponseWriter, r *http.Request) {
	build, ok := l.v3[strings.TrimPrefix(r.URL.Path, openAPIV3Path+"/")]
	if !ok {
		http.Error(w, fmt.Sprintf("no OpenAPI document %q", r.URL.Path), http.StatusNotFound)
		return
	}
	build().ServeHTTP(w, r)
}
