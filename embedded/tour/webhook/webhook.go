// Package webhook has the program of the tour that the API server asks about objects: whether to admit them, how to change them, and how
// to convert them between versions.
//
//	kl-engine tour webhook --cert /tls/tls.crt --key /tls/tls.key --allow kl.local/
//
// Its paths are for the fields clientConfig.service.path of a MutatingWebhookConfiguration, a ValidatingWebhookConfiguration and a
// CustomResourceDefinition.
package webhook

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/pflag"
	admission "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/klkube/kl/embedded/tour"
)

// maxReview is the largest review that is read, in bytes: several times what the API server accepts as an object.
const maxReview = 16 << 20

// Webhook answers the API server's questions about objects.
func Webhook() tour.Program {
	h := &hook{}
	return tour.Program{
		Name: "webhook", Short: "answers the API server: mutating, validating, image policy, conversion", Run: h.run,
		Long: `It serves over HTTPS:
  /mutate    adds the label tour.kl.dev/mutated=true, and the annotation tour.kl.dev/tier=standard if there is none
  /validate  refuses objects without the label of --label
  /images    refuses pods whose images do not begin with one of --allow
  /convert   converts Box of tour.kl.dev: "size: 3x4" in v1 is "width: 3, height: 4" in v2
  /healthz   "ok"`,
		Flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&h.listen, "listen", ":8443", "address to serve on")
			fs.StringVar(&h.cert, "cert", "", "file with its certificate")
			fs.StringVar(&h.key, "key", "", "file with the certificate's key")
			fs.StringVar(&h.label, "label", "owner", "label that /validate wants")
			fs.StringArrayVar(&h.allow, "allow", nil, "how an image may begin, as in kl.local/; may be given more than once")
		},
	}
}

type hook struct {
	listen, cert, key, label string
	allow                    []string

	log *tour.Log
}

func (h *hook) run(ctx context.Context, _ []string, log *tour.Log) error {
	h.log = log
	if h.cert == "" || h.key == "" {
		return tour.Usagef("--cert and --key are needed: the API server asks over HTTPS alone")
	}
	if errs := validation.IsQualifiedName(h.label); len(errs) > 0 {
		return tour.Usagef("--label is %q, which is not the name of a label: %s", h.label, errs[0])
	}
	cert, err := tls.LoadX509KeyPair(h.cert, h.key)
	if err != nil {
		return fmt.Errorf("read %s and %s: %w", h.cert, h.key, err)
	}
	l, err := tour.Listen(ctx, h.listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/mutate", h.review(mutate))
	mux.HandleFunc("/validate", h.review(h.validate))
	mux.HandleFunc("/images", h.review(h.images))
	mux.HandleFunc("/convert", h.convert)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	log.Printf("webhook listens: https %s", l.Addr())
	return tour.ServeHTTPS(ctx, l, cert, mux, log)
}

// review answers AdmissionReviews as decide does, and logs each.
func (h *hook) review(decide func(*admission.AdmissionRequest) (*admission.AdmissionResponse, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var review admission.AdmissionReview
		if !tour.ReadJSON(w, r, maxReview, &review) {
			return
		}
		if review.Request == nil {
			http.Error(w, r.URL.Path+": the body is not an AdmissionReview with a request", http.StatusBadRequest)
			return
		}
		response, err := decide(review.Request)
		if err != nil {
			response = refuse("%v", err)
		}
		response.UID = review.Request.UID
		h.log.Printf("%s %s by %s: %s", strings.TrimPrefix(r.URL.Path, "/"), describe(review.Request), review.Request.UserInfo.Username, verdict(response))
		review.Request, review.Response = nil, response
		tour.WriteJSON(w, review)
	}
}

// describe says what a request is about: "create Pod shop/web-1".
func describe(r *admission.AdmissionRequest) string {
	name := cmp.Or(r.Name, generateName(r), "without a name")
	if r.Namespace != "" {
		name = r.Namespace + "/" + name
	}
	return fmt.Sprintf("%s %s %s", strings.ToLower(string(r.Operation)), r.Kind.Kind, name)
}

// generateName is what the name of an object begins with that gets its name later.
func generateName(r *admission.AdmissionRequest) string {
	if object, err := metadata(r); err == nil && object.GenerateName != "" {
		return object.GenerateName + "…"
	}
	return ""
}

func verdict(r *admission.AdmissionResponse) string {
	switch {
	case !r.Allowed:
		return "refused: " + r.Result.Message
	case r.Patch != nil:
		return "changed"
	}
	return "allowed"
}

// metadata reads the metadata of the object that a request is about.
func metadata(r *admission.AdmissionRequest) (metav1.ObjectMeta, error) {
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(r.Object.Raw, &object); err != nil {
		return metav1.ObjectMeta{}, fmt.Errorf("read the %s: %w", r.Kind.Kind, err)
	}
	return object.ObjectMeta, nil
}

func allowed() *admission.AdmissionResponse { return &admission.AdmissionResponse{Allowed: true} }

func refuse(format string, args ...any) *admission.AdmissionResponse {
	return &admission.AdmissionResponse{Result: &metav1.Status{
		Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: fmt.Sprintf(format, args...),
	}}
}
