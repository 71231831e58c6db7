package webhook

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/klkube/kl/embedded/tour"
)

const (
	boxKind = "Box"
	boxV1   = "tour.kl.dev/v1" // spec.size: "3x4"
	boxV2   = "tour.kl.dev/v2" // spec.width: 3, spec.height: 4
)

// convert answers ConversionReviews. Either all objects are converted or none.
func (h *hook) convert(w http.ResponseWriter, r *http.Request) {
	var review apiextensions.ConversionReview
	if !tour.ReadJSON(w, r, maxReview, &review) {
		return
	}
	if review.Request == nil {
		http.Error(w, "/convert: the body is not a ConversionReview with a request", http.StatusBadRequest)
		return
	}
	response := &apiextensions.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	to := review.Request.DesiredAPIVersion
	for _, raw := range review.Request.Objects {
		object, err := convertBox(raw.Raw, to)
		if err != nil {
			h.log.Printf("convert to %s: %v", to, err)
			response.ConvertedObjects = nil
			response.Result = metav1.Status{Status: metav1.StatusFailure, Message: err.Error()}
			break
		}
		h.log.Printf("convert %s %s to %s", object.GetKind(), object.GetName(), to)
		response.ConvertedObjects = append(response.ConvertedObjects, runtime.RawExtension{Object: object})
	}
	review.Request, review.Response = nil, response
	tour.WriteJSON(w, review)
}

// convertBox returns a Box in another version. Everything but the measures is kept as it is.
func convertBox(data []byte, to string) (*unstructured.Unstructured, error) {
	box := &unstructured.Unstructured{}
	if err := box.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("read the object: %w", err)
	}
	from := box.GetAPIVersion()
	if box.GetKind() != boxKind || from != boxV1 && from != boxV2 || to != boxV1 && to != boxV2 {
		return nil, fmt.Errorf("%s %s cannot be converted from %s to %s: want a %s in %s or %s", box.GetKind(), box.GetName(), from, to, boxKind, boxV1, boxV2)
	}
	var err error
	switch {
	case from == to:
	case to == boxV2:
		err = splitSize(box)
	default:
		err = joinSize(box)
	}
	if err != nil {
		return nil, fmt.Errorf("box %s: %w", box.GetName(), err)
	}
	box.SetAPIVersion(to)
	return box, nil
}

// splitSize makes width and height of size. A box without a size has neither.
func splitSize(box *unstructured.Unstructured) error {
	size, found, err := unstructured.NestedString(box.Object, "spec", "size")
	if err != nil {
		return err
	}
	if !found {
		return nil
	}
	m := regexp.MustCompile(`^(\d+)x(\d+)$`).FindStringSubmatch(size)
	if m == nil {
		return fmt.Errorf(`spec.size is %q: want width and height, as in "3x4"`, size)
	}
	for i, field := range []string{"width", "height"} {
		n, err := strconv.ParseInt(m[i+1], 10, 32)
		if err != nil {
			return fmt.Errorf("spec.size is %q: %s is too large", size, m[i+1])
		}
		if err := unstructured.SetNestedField(box.Object, n, "spec", field); err != nil {
			return err
		}
	}
	unstructured.RemoveNestedField(box.Object, "spec", "size")
	return nil
}

// joinSize makes size of width and height.
func joinSize(box *unstructured.Unstructured) error {
	width, hasWidth, err := unstructured.NestedInt64(box.Object, "spec", "width")
	if err != nil {
		return err
	}
	height, hasHeight, err := unstructured.NestedInt64(box.Object, "spec", "height")
	if err != nil {
		return err
	}
	if !hasWidth && !hasHeight {
		return nil
	}
	if !hasWidth || !hasHeight || width < 0 || height < 0 {
		return fmt.Errorf("spec has width %d and height %d: want both, and none negative", width, height)
	}
	unstructured.RemoveNestedField(box.Object, "spec", "width")
	unstructured.RemoveNestedField(box.Object, "spec", "height")
	return unstructured.SetNestedField(box.Object, fmt.Sprintf("%dx%d", width, height), "spec", "size")
}
