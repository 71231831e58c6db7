package audit_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/klkube/kl/embedded/tour/audit"
	"github.com/klkube/kl/embedded/tour/tourtest"
)

func request(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return tourtest.Do(t, r)
}

func batch(events ...string) string {
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(events, ",") + `]}`
}

const (
	deletion = `{"auditID":"1","stage":"ResponseComplete","verb":"delete","user":{"username":"alice"},"requestURI":"/x",
		"objectRef":{"resource":"pods","namespace":"shop","name":"web-1"},"responseStatus":{"code":200}}`
	denied = `{"auditID":"2","stage":"ResponseComplete","verb":"create","user":{"username":"bob"},"impersonatedUser":{"username":"eve"},
		"objectRef":{"resource":"pods","subresource":"exec","namespace":"shop","name":"web-1"},"responseStatus":{"code":403}}`
	list     = `{"auditID":"3","stage":"RequestReceived","verb":"list","user":{"username":"alice"},"objectRef":{"resource":"secrets","namespace":"shop"}}`
	node     = `{"auditID":"4","stage":"ResponseComplete","verb":"get","user":{"username":"alice"},"objectRef":{"resource":"nodes","name":"n1"},"responseStatus":{"code":200}}`
	path     = `{"auditID":"5","stage":"Panic","verb":"get","requestURI":"/healthz"}`
	allLines = `alice delete pods shop/web-1 200
bob as eve create pods/exec shop/web-1 403
alice list secrets shop/ RequestReceived
alice get nodes n1 200
nobody get /healthz Panic
`
)

// ids returns the events that a query chooses.
func ids(t *testing.T, url string) string {
	t.Helper()
	status, body := request(t, http.MethodGet, url, "")
	var got auditv1.EventList
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK || got.Kind != "EventList" || got.APIVersion != "audit.k8s.io/v1" {
		t.Fatalf("%s: status %d, body %q, error %v", url, status, body, err)
	}
	var all strings.Builder
	for _, e := range got.Items {
		all.WriteString(string(e.AuditID))
	}
	return all.String()
}

func TestSink(t *testing.T) {
	r := tourtest.Start(t, audit.Sink(), "--listen", "127.0.0.1:0", "--keep", "4")
	url := "http://" + r.Wait(`http (\S+)\n`)[1]
	if got := ids(t, url+"/events"); got != "" {
		t.Errorf("events %s before there are any", got)
	}
	for _, events := range [][]string{{deletion, denied, list}, {node, path}} {
		if status, answer := request(t, http.MethodPost, url+"/?timeout=30s", batch(events...)); status != http.StatusOK {
			t.Fatalf("status %d, answer %q", status, answer)
		}
	}
	if _, lines, _ := strings.Cut(r.Output(), "\n"); lines != allLines {
		t.Errorf("output %q, want %q", lines, allLines)
	}
	for query, want := range map[string]string{
		"": "2345", "?user=alice": "34", "?verb=get": "45", "?resource=nodes": "4", "?namespace=shop": "23", "?namespace=shop&verb=list": "3", "?user=": "5",
	} {
		if got := ids(t, url+"/events"+query); got != want {
			t.Errorf("%q: events %s, want %s", query, got, want)
		}
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
}

func TestBadBatches(t *testing.T) {
	r := tourtest.Start(t, audit.Sink(), "--listen", "127.0.0.1:0")
	url := "http://" + r.Wait(`http (\S+)\n`)[1]
	for _, tt := range []struct {
		method, body string
		status       int
		answer       string
	}{
		{http.MethodGet, "", 405, "GET /: want POST\n"},
		{http.MethodPost, "", 400, "read the body of /: unexpected end of JSON input\n"},
		{http.MethodPost, "{}", 400, "the body is a document without kind of no version: want an EventList of audit.k8s.io/v1\n"},
		{http.MethodPost, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1beta1"}`, 400, "the body is a EventList of audit.k8s.io/v1beta1: want an EventList of audit.k8s.io/v1\n"},
	} {
		if status, answer := request(t, tt.method, url+"/", tt.body); status != tt.status || answer != tt.answer {
			t.Errorf("%s %q: status %d, answer %q, want %d, %q", tt.method, tt.body, status, answer, tt.status, tt.answer)
		}
	}
	err := tourtest.Start(t, audit.Sink(), "--keep", "0").End()
	if want := "audit-sink: --keep is 0: want 1 or more"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
