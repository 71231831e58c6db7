package notes_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
)

// startAPI starts the part of an API server that an extension server asks, and returns a kubeconfig for it. Tokens are names of users.
// alice may do everything, everybody else may read.
func startAPI(t *testing.T) (kubeconfig string) {
	t.Helper()
	ca, _, err := cert.GenerateSelfSignedCertKey("ca", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: api{ca: string(ca)}}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-served })
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":"http://%s"}}],
		"contexts":[{"name":"c","context":{"cluster":"c","user":""}}]}`, l.Addr())
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

type api struct{ ca string }

func (a api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/tokenreviews"):
		answer(w, r, func(review *authentication.TokenReview) {
			review.Status = authentication.TokenReviewStatus{Authenticated: true, User: authentication.UserInfo{Username: review.Spec.Token}}
		})
	case strings.HasSuffix(path, "/subjectaccessreviews"):
		answer(w, r, func(review *authorization.SubjectAccessReview) {
			spec := review.Spec
			review.Status.Allowed = spec.User == "alice" || spec.User != "system:anonymous" &&
				(spec.ResourceAttributes == nil || spec.ResourceAttributes.Verb == "get")
		})
	case strings.HasSuffix(path, "/configmaps/extension-apiserver-authentication"):
		_ = json.NewEncoder(w).Encode(a.config())
	case strings.HasSuffix(path, "/configmaps") && r.URL.Query().Get("watch") == "": // informers begin with a watch, and fall back to this
		_ = json.NewEncoder(w).Encode(corev1.ConfigMapList{
			TypeMeta: metav1.TypeMeta{Kind: "ConfigMapList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []corev1.ConfigMap{a.config()},
		})
	case r.URL.Query().Get("sendInitialEvents") != "":
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`, http.StatusUnprocessableEntity)
	default:
		<-r.Context().Done() // a watch of something that does not change
	}
}

func (a api) config() corev1.ConfigMap {
	return corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "extension-apiserver-authentication", ResourceVersion: "1"},
		Data: map[string]string{
			"client-ca-file": a.ca, "requestheader-client-ca-file": a.ca, "requestheader-allowed-names": `["front-proxy-client"]`,
			"requestheader-username-headers": `["X-Remote-User"]`, "requestheader-group-headers": `["X-Remote-Group"]`,
			"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
		},
	}
}

// answer decodes a review, lets fill decide, and sends it back.
func answer[T any](w http.ResponseWriter, r *http.Request, fill func(*T)) {
	var review T
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fill(&review)
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(review)
}
