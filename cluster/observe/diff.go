package observe

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// DiffLine is one line of a side-by-side comparison. A side without such a line is empty.
type DiffLine struct {
	Op          byte // ' ' equal, '~' changed, '-' only left, '+' only right
	Left, Right string
}

// TemplateYAML returns a pod template as YAML, without the labels and fields that controllers add.
func TemplateYAML(t *corev1.PodTemplateSpec) string {
	if t == nil {
		return "(not readable)\n"
	}
	t = t.DeepCopy()
	delete(t.Labels, "pod-template-hash")
	t.CreationTimestamp.Reset()
	raw, err := yaml.Marshal(struct {
		Metadata map[string]any `json:"metadata,omitempty"`
		Spec     corev1.PodSpec `json:"spec"`
	}{nonEmpty(t), t.Spec})
	if err != nil {
		return fmt.Sprintf("(not readable: %v)\n", err)
	}
	return string(raw)
}

func nonEmpty(t *corev1.PodTemplateSpec) map[string]any {
	out := map[string]any{}
	if len(t.Labels) > 0 {
		out["labels"] = t.Labels
	}
	if len(t.Annotations) > 0 {
		out["annotations"] = t.Annotations
	}
	return out
}

// Diff compares two texts by their longest common subsequence of lines. A removed line next to an added one is a change.
func Diff(left, right string) []DiffLine {
	a, b := lines(left), lines(right)
	lcs := make([][]int, len(a)+1)
	for i := range lcs {
		lcs[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				lcs[i][j] = lcs[i+1][j+1] + 1
			} else {
				lcs[i][j] = max(lcs[i+1][j], lcs[i][j+1])
			}
		}
	}
	var out []DiffLine
	var gone, added []string
	flush := func() {
		for i := range max(len(gone), len(added)) {
			switch {
			case i >= len(added):
				out = append(out, DiffLine{'-', gone[i], ""})
			case i >= len(gone):
				out = append(out, DiffLine{'+', "", added[i]})
			default:
				out = append(out, DiffLine{'~', gone[i], added[i]})
			}
		}
		gone, added = nil, nil
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			flush()
			out = append(out, DiffLine{' ', a[i], b[j]})
			i, j = i+1, j+1
		case j >= len(b) || i < len(a) && lcs[i+1][j] >= lcs[i][j+1]:
			gone = append(gone, a[i])
			i++
		default:
			added = append(added, b[j])
			j++
		}
	}
	flush()
	return out
}

func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}
