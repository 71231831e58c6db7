package webhook_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admission "k8s.io/api/admission/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/util/cert"

	"github.com/klkube/kl/embedded/tour/tourtest"
	"github.com/klkube/kl/embedded/tour/webhook"
)

// server is a webhook that runs, with a client that trusts its certificate alone.
type server struct {
	*tourtest.Run
	url    string
	client *http.Client
}

func start(t *testing.T, args ...string) *server {
	t.Helper()
	chain, key, err := cert.GenerateSelfSignedCertKey("webhook.tour.svc", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"tls.crt": chain, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args = append([]string{"--listen", "127.0.0.1:0", "--cert", filepath.Join(dir, "tls.crt"), "--key", filepath.Join(dir, "tls.key")}, args...)
	r := tourtest.Start(t, webhook.Webhook(), args...)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &server{r, "https://" + r.Wait(`https (\S+)\n`)[1], &http.Client{Transport: transport}}
}

// post returns the answer to a body.
func (s *server) post(t *testing.T, path, body string) (status int, answer []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

// review asks about an object, which is empty for a deletion.
func (s *server) review(t *testing.T, path, kind, name, object string) *admission.AdmissionResponse {
	t.Helper()
	operation := "CREATE"
	if object == "" {
		object, operation = "null", "DELETE"
	}
	status, answer := s.post(t, path, fmt.Sprintf(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1",
		"kind":{"group":"","version":"v1","kind":%q},"resource":{"group":"","version":"v1","resource":"%ss"},"name":%q,"namespace":"shop",
		"operation":%q,"userInfo":{"username":"alice"},"object":%s}}`, kind, strings.ToLower(kind), name, operation, object))
	var review admission.AdmissionReview
	if err := json.Unmarshal(answer, &review); err != nil || status != http.StatusOK {
		t.Fatalf("status %d, answer %q, error %v", status, answer, err)
	}
	if review.APIVersion != "admission.k8s.io/v1" || review.Kind != "AdmissionReview" || review.Request != nil || review.Response.UID != "u-1" {
		t.Fatalf("the API server does not take the answer %s", answer)
	}
	return review.Response
}

func TestMutate(t *testing.T) {
	s := start(t)
	for _, tt := range []struct{ name, object, want string }{
		{"no maps", `{"metadata":{"name":"web"}}`,
			`{"metadata":{"name":"web","labels":{"tour.kl.dev/mutated":"true"},"annotations":{"tour.kl.dev/tier":"standard"}}}`},
		{"other entries", `{"metadata":{"labels":{"a/b":"c"},"annotations":{"d":"e"}}}`,
			`{"metadata":{"labels":{"a/b":"c","tour.kl.dev/mutated":"true"},"annotations":{"d":"e","tour.kl.dev/tier":"standard"}}}`},
		{"a tier of its own", `{"metadata":{"annotations":{"tour.kl.dev/tier":"gold"}}}`,
			`{"metadata":{"labels":{"tour.kl.dev/mutated":"true"},"annotations":{"tour.kl.dev/tier":"gold"}}}`},
		{"another value", `{"metadata":{"labels":{"tour.kl.dev/mutated":"no"},"annotations":{"tour.kl.dev/tier":""}}}`,
			`{"metadata":{"labels":{"tour.kl.dev/mutated":"true"},"annotations":{"tour.kl.dev/tier":""}}}`},
		{"nothing to do", `{"metadata":{"labels":{"tour.kl.dev/mutated":"true"},"annotations":{"tour.kl.dev/tier":"gold"}}}`,
			`{"metadata":{"labels":{"tour.kl.dev/mutated":"true"},"annotations":{"tour.kl.dev/tier":"gold"}}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			response := s.review(t, "/mutate", "Pod", "web", tt.object)
			got := []byte(tt.object)
			if response.Patch != nil {
				if *response.PatchType != admission.PatchTypeJSONPatch {
					t.Errorf("patch type %s", *response.PatchType)
				}
				patch, err := jsonpatch.DecodePatch(response.Patch)
				if err != nil {
					t.Fatal(err)
				}
				if got, err = patch.Apply(got); err != nil {
					t.Fatal(err)
				}
			}
			if !response.Allowed || !jsonpatch.Equal(got, []byte(tt.want)) {
				t.Errorf("allowed %t, object %s, want %s", response.Allowed, got, tt.want)
			}
		})
	}
	if r := s.review(t, "/mutate", "Pod", "web", ""); !r.Allowed || r.Patch != nil {
		t.Errorf("a deletion: %+v", r)
	}
	s.Wait("(?m)^mutate create Pod shop/web by alice: changed$")
	s.Wait("(?m)^mutate delete Pod shop/web by alice: allowed$")
}

func TestRefusals(t *testing.T) {
	s := start(t, "--allow", "kl.local/", "--allow", "registry.example/team/")
	for _, tt := range []struct{ name, path, kind, object, refused string }{
		{"owner", "/validate", "Pod", `{"metadata":{"labels":{"owner":"team-a"}}}`, ""},
		{"no owner", "/validate", "Pod", `{"metadata":{"labels":{"app":"web"}}}`, `pod web has no label "owner": say whose it is, as in owner=team-a`},
		{"empty owner", "/validate", "ConfigMap", `{"metadata":{"labels":{"owner":""}}}`, `configmap web has no label "owner": say whose it is, as in owner=team-a`},
		{"deletion", "/validate", "Pod", "", ""},
		{"labels that are none", "/validate", "Pod", `{"metadata":{"labels":[]}}`, "read the Pod: json: cannot unmarshal array into Go struct field"},
		{"images", "/images", "Pod", `{"spec":{"initContainers":[{"name":"i","image":"kl.local/pause:1"}],"containers":[{"name":"c","image":"registry.example/team/app"}]}}`, ""},
		{"foreign image", "/images", "Pod", `{"spec":{"containers":[{"name":"a","image":"kl.local/pause:1"},{"name":"b","image":"evil/kl.local/app"}]}}`,
			"container b of pod web has image evil/kl.local/app: images must begin with kl.local/ or registry.example/team/"},
		{"foreign image before", "/images", "Pod", `{"spec":{"initContainers":[{"name":"i","image":"evil"}],"containers":[{"name":"c","image":"kl.local/pause:1"}]}}`,
			"container i of pod web has image evil: images must begin with kl.local/ or registry.example/team/"},
		{"foreign image later", "/images", "Pod", `{"spec":{"containers":[{"name":"c","image":"kl.local/pause:1"}],"ephemeralContainers":[{"name":"e","image":"evil"}]}}`,
			"container e of pod web has image evil: images must begin with kl.local/ or registry.example/team/"},
		{"image policy of others", "/images", "Secret", `{}`, "the image policy judges pods, not secrets: let the webhook's rules name pods alone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := s.review(t, tt.path, tt.kind, "web", tt.object)
			if tt.refused == "" {
				if !r.Allowed {
					t.Errorf("refused: %+v", r.Result)
				}
				return
			}
			if r.Allowed || r.Result.Code != 403 || !strings.HasPrefix(r.Result.Message, tt.refused) {
				t.Errorf("allowed %t, result %+v, want %s", r.Allowed, r.Result, tt.refused)
			}
		})
	}
	s.review(t, "/validate", "Pod", "", `{"metadata":{"generateName":"web-"}}`)
	s.Wait(`(?m)^validate create Pod shop/web-… by alice: refused: the pod has no label "owner": `)
	if r := start(t).review(t, "/images", "Pod", "web", `{"spec":{"containers":[{"name":"c","image":"a"}]}}`); r.Allowed ||
		!strings.HasSuffix(r.Result.Message, ": no image is allowed, since the webhook was started without --allow") {
		t.Errorf("without --allow: %+v", r)
	}
}

func TestConvert(t *testing.T) {
	s := start(t)
	v1 := `{"apiVersion":"tour.kl.dev/v1","kind":"Box","metadata":{"name":"b","uid":"1"},"spec":{"size":"3x4","color":"red"},"status":{"full":0.5}}`
	v2 := `{"apiVersion":"tour.kl.dev/v2","kind":"Box","metadata":{"name":"b","uid":"1"},"spec":{"width":3,"height":4,"color":"red"},"status":{"full":0.5}}`
	box := func(version, spec string) string {
		return fmt.Sprintf(`{"apiVersion":"tour.kl.dev/%s","kind":"Box","metadata":{"name":"b"},"spec":%s}`, version, spec)
	}
	for _, tt := range []struct {
		name string
		to   string
		in   []string
		want []string
		err  string
	}{
		{"up", "v2", []string{v1, v1}, []string{v2, v2}, ""},
		{"down", "v1", []string{v2}, []string{v1}, ""},
		{"to the same", "v1", []string{v1}, []string{v1}, ""},
		{"nothing", "v1", nil, nil, ""},
		{"no size", "v2", []string{box("v1", `{}`)}, []string{box("v2", `{}`)}, ""},
		{"no measures", "v1", []string{box("v2", `{}`)}, []string{box("v1", `{}`)}, ""},
		{"bad size", "v2", []string{v1, box("v1", `{"size":"big"}`)}, nil, `box b: spec.size is "big": want width and height, as in "3x4"`},
		{"huge size", "v2", []string{box("v1", `{"size":"3x4000000000"}`)}, nil, `box b: spec.size is "3x4000000000": 4000000000 is too large`},
		{"one measure", "v1", []string{box("v2", `{"width":3}`)}, nil, "box b: spec has width 3 and height 0: want both, and none negative"},
		{"size that is a number", "v2", []string{box("v1", `{"size":3}`)}, nil, "box b: .spec.size accessor error: 3 is of the type int64, expected string"},
		{"unknown version", "v3", []string{v1}, nil, "Box b cannot be converted from tour.kl.dev/v1 to tour.kl.dev/v3: want a Box in tour.kl.dev/v1 or tour.kl.dev/v2"},
		{"another kind", "v2", []string{`{"apiVersion":"tour.kl.dev/v1","kind":"Crate","metadata":{"name":"c"}}`}, nil, "Crate c cannot be converted"},
		{"no kind", "v2", []string{`{}`}, nil, "read the object: Object 'Kind' is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := fmt.Sprintf(`{"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/v1","request":{"uid":"u-2","desiredAPIVersion":"tour.kl.dev/%s","objects":[%s]}}`,
				tt.to, strings.Join(tt.in, ","))
			status, answer := s.post(t, "/convert", body)
			var review apiextensions.ConversionReview
			if err := json.Unmarshal(answer, &review); err != nil || status != http.StatusOK || review.Response.UID != "u-2" || review.Kind != "ConversionReview" {
				t.Fatalf("status %d, answer %q, error %v", status, answer, err)
			}
			if tt.err != "" {
				if r := review.Response; r.Result.Status != "Failure" || !strings.HasPrefix(r.Result.Message, tt.err) || len(r.ConvertedObjects) != 0 {
					t.Errorf("result %+v, want %s", r, tt.err)
				}
				return
			}
			if review.Response.Result.Status != "Success" || len(review.Response.ConvertedObjects) != len(tt.want) {
				t.Fatalf("answer %s", answer)
			}
			for i, o := range review.Response.ConvertedObjects {
				var got, want any
				if err := json.NewDecoder(bytes.NewReader(o.Raw)).Decode(&got); err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal([]byte(tt.want[i]), &want); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("object %d: %s", i, diff)
				}
			}
		})
	}
	s.Wait("(?m)^convert Box b to tour.kl.dev/v2$")
}

func TestBadRequests(t *testing.T) {
	s := start(t)
	for _, tt := range []struct {
		path, body string
		status     int
		answer     string
	}{
		{"/validate", "no JSON", 400, "read the body of /validate: invalid character 'o' in literal null (expecting 'u')\n"},
		{"/validate", "{}", 400, "/validate: the body is not an AdmissionReview with a request\n"},
		{"/convert", "{}", 400, "/convert: the body is not a ConversionReview with a request\n"},
		{"/convert", strings.Repeat(" ", 16<<20+1), 413, "read the body of /convert: http: request body too large\n"},
		{"/other", "{}", 404, "404 page not found\n"},
	} {
		if status, answer := s.post(t, tt.path, tt.body); status != tt.status || string(answer) != tt.answer {
			t.Errorf("%s: status %d, answer %q, want %d, %q", tt.path, status, answer, tt.status, tt.answer)
		}
	}
	for path, want := range map[string]int{"/mutate": http.StatusMethodNotAllowed, "/healthz": http.StatusOK} {
		response, err := s.client.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("GET %s: status %d, want %d", path, response.StatusCode, want)
		}
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

func TestRefusedFlags(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for args, want := range map[string]string{
		"":                                  "webhook: --cert and --key are needed: the API server asks over HTTPS alone",
		"--cert " + none:                    "webhook: --cert and --key are needed: the API server asks over HTTPS alone",
		"--cert " + none + " --key " + none: "webhook: read " + none + " and " + none + ": open " + none + ": no such file or directory",
		"--cert a --key b --label a/b/c":    `webhook: --label is "a/b/c", which is not the name of a label: `,
	} {
		if err := tourtest.Start(t, webhook.Webhook(), strings.Fields(args)...).End(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", args, err, want)
		}
	}
}
