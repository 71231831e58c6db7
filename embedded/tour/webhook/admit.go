package webhook

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	admission "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
)

const (
	mutatedLabel   = "tour.kl.dev/mutated"
	tierAnnotation = "tour.kl.dev/tier" // "standard" unless the object says otherwise
)

// patch is one operation of a JSON patch.
type patch struct {
	Op    string            `json:"op"`
	Path  string            `json:"path"`
	Value map[string]string `json:"value"`
}

// mutate adds a label and a default. The maps are added as a whole, since the object may have none.
func mutate(r *admission.AdmissionRequest) (*admission.AdmissionResponse, error) {
	if len(r.Object.Raw) == 0 { // a deletion
		return allowed(), nil
	}
	object, err := metadata(r)
	if err != nil {
		return nil, err
	}
	var patches []patch
	if object.Labels[mutatedLabel] != "true" {
		patches = append(patches, patch{"add", "/metadata/labels", with(object.Labels, mutatedLabel, "true")})
	}
	if _, ok := object.Annotations[tierAnnotation]; !ok {
		patches = append(patches, patch{"add", "/metadata/annotations", with(object.Annotations, tierAnnotation, "standard")})
	}
	response := allowed()
	if len(patches) == 0 {
		return response, nil
	}
	if response.Patch, err = json.Marshal(patches); err != nil {
		return nil, err
	}
	kind := admission.PatchTypeJSONPatch
	response.PatchType = &kind
	return response, nil
}

// with returns a copy of m with one more entry.
func with(m map[string]string, key, value string) map[string]string {
	all := map[string]string{key: value}
	for k, v := range m {
		if k != key {
			all[k] = v
		}
	}
	return all
}

// validate wants a label.
func (h *hook) validate(r *admission.AdmissionRequest) (*admission.AdmissionResponse, error) {
	if len(r.Object.Raw) == 0 {
		return allowed(), nil
	}
	object, err := metadata(r)
	if err != nil {
		return nil, err
	}
	if object.Labels[h.label] == "" {
		return refuse("%s has no label %q: say whose it is, as in %s=team-a", thing(r), h.label, h.label), nil
	}
	return allowed(), nil
}

// thing is what a refusal calls the object: "pod web-1".
func thing(r *admission.AdmissionRequest) string {
	kind := strings.ToLower(r.Kind.Kind)
	if r.Name == "" {
		return "the " + kind
	}
	return kind + " " + r.Name
}

// images wants that every image of a pod is from the list.
func (h *hook) images(r *admission.AdmissionRequest) (*admission.AdmissionResponse, error) {
	if len(r.Object.Raw) == 0 {
		return allowed(), nil
	}
	if r.Kind.Group != "" || r.Kind.Kind != "Pod" {
		return nil, fmt.Errorf("the image policy judges pods, not %s: let the webhook's rules name pods alone", r.Resource.Resource)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(r.Object.Raw, &pod); err != nil {
		return nil, fmt.Errorf("read the pod: %w", err)
	}
	used := map[string]string{} // image by container
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		used[c.Name] = c.Image
	}
	for _, c := range pod.Spec.EphemeralContainers {
		used[c.Name] = c.Image
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if !slices.ContainsFunc(h.allow, func(prefix string) bool { return strings.HasPrefix(used[name], prefix) }) {
			return refuse("container %s of %s has image %s: %s", name, thing(r), used[name], h.allowedImages()), nil
		}
	}
	return allowed(), nil
}

func (h *hook) allowedImages() string {
	if len(h.allow) == 0 {
		return "no image is allowed, since the webhook was started without --allow"
	}
	return "images must begin with " + strings.Join(h.allow, " or ")
}
