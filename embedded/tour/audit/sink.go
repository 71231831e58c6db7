// Package audit has the program of the tour that takes audit events, as the API server's webhook backend sends them.
//
//	kl-engine tour audit-sink        # logs "alice delete pods shop/web-1 200"; GET /events returns the last ones
package audit

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	audit "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/klkube/kl/embedded/tour"
)

// maxBatch is the largest batch that is read, in bytes. With level RequestResponse an event has whole objects.
const maxBatch = 256 << 20

// Sink takes audit events.
func Sink() tour.Program {
	s := &sink{}
	return tour.Program{
		Name: "audit-sink", Short: "takes audit events of the API server and shows them", Run: s.run,
		Long: `It serves over HTTP:
  POST /       takes an EventList of audit.k8s.io/v1, and logs a line an event: "alice delete pods shop/web-1 200"
  GET /events  returns the last events as an EventList; ?user=, ?verb=, ?resource= and ?namespace= choose
  /healthz     "ok"`,
		Flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&s.listen, "listen", ":8080", "address to serve on")
			fs.IntVar(&s.keep, "keep", 1000, "how many events to keep")
		},
	}
}

type sink struct {
	listen string
	keep   int

	log    *tour.Log
	mu     sync.Mutex
	events []audit.Event // the last ones, at most keep
}

func (s *sink) run(ctx context.Context, _ []string, log *tour.Log) error {
	s.log = log
	if s.keep < 1 {
		return tour.Usagef("--keep is %d: want 1 or more", s.keep)
	}
	l, err := tour.Listen(ctx, s.listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", s.take)
	mux.HandleFunc("GET /events", s.show)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	log.Printf("audit-sink listens: http %s", l.Addr())
	return tour.ServeHTTP(ctx, l, mux, log)
}

// take takes a batch. The API server sends it again if it is not answered with success.
func (s *sink) take(w http.ResponseWriter, r *http.Request) {
	var list audit.EventList
	if !tour.ReadJSON(w, r, maxBatch, &list) {
		return
	}
	if list.Kind != "EventList" || list.APIVersion != audit.SchemeGroupVersion.String() {
		http.Error(w, fmt.Sprintf("the body is a %s of %s: want an EventList of %s",
			cmp.Or(list.Kind, "document without kind"), cmp.Or(list.APIVersion, "no version"), audit.SchemeGroupVersion), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.events = append(s.events, list.Items...)
	s.events = slices.Clone(s.events[max(0, len(s.events)-s.keep):])
	s.mu.Unlock()
	for _, e := range list.Items {
		s.log.Printf("%s", line(e))
	}
}

// line is "alice delete pods shop/web-1 200". Events of other stages than the last end with their stage instead of a status.
func line(e audit.Event) string {
	what := e.RequestURI
	if o := e.ObjectRef; o != nil {
		what = o.Resource
		if o.Subresource != "" {
			what += "/" + o.Subresource
		}
		switch {
		case o.Namespace != "" && o.Name != "":
			what += " " + o.Namespace + "/" + o.Name
		case o.Namespace != "" || o.Name != "":
			what += " " + cmp.Or(o.Name, o.Namespace+"/")
		}
	}
	end := string(e.Stage)
	if e.Stage == audit.StageResponseComplete && e.ResponseStatus != nil {
		end = fmt.Sprint(e.ResponseStatus.Code)
	}
	user := e.User.Username
	if e.ImpersonatedUser != nil {
		user += " as " + e.ImpersonatedUser.Username
	}
	return fmt.Sprintf("%s %s %s %s", cmp.Or(user, "nobody"), e.Verb, what, end)
}

func (s *sink) show(w http.ResponseWriter, r *http.Request) {
	list := audit.EventList{
		TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: audit.SchemeGroupVersion.String()},
		Items:    []audit.Event{},
	}
	s.mu.Lock()
	events := s.events
	s.mu.Unlock()
	for _, e := range events {
		var resource, namespace string
		if e.ObjectRef != nil {
			resource, namespace = e.ObjectRef.Resource, e.ObjectRef.Namespace
		}
		if chosen(r, "user", e.User.Username) && chosen(r, "verb", e.Verb) && chosen(r, "resource", resource) && chosen(r, "namespace", namespace) {
			list.Items = append(list.Items, e)
		}
	}
	tour.WriteJSON(w, list)
}

// chosen reports whether a value is what a query asks for, if it does.
func chosen(r *http.Request, key, value string) bool {
	return !r.URL.Query().Has(key) || r.URL.Query().Get(key) == value
}
