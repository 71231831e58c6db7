package export

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// maxAnnotation is how long an annotation of a Secret may be to be kept. Tools keep copies of whole objects in longer ones.
const maxAnnotation = 100

// Redact takes out of an object, in place, what must not leave the machine: the values of a Secret, wherever the object holds one: as
// itself, in a list, within a custom resource, or as JSON or YAML in a string, such as the annotation of kubectl apply. Keys stay, and
// each value becomes its length. Of a ConfigMap it also takes out private keys and tokens. Whatever holds none of that stays as it is.
func Redact(object map[string]any) {
	redactMap(object)
	if object["kind"] == "ConfigMap" && object["apiVersion"] == "v1" {
		redactConfigMap(object)
	}
}

// redactMap reports whether it changed anything.
func redactMap(m map[string]any) bool {
	kind, _ := m["kind"].(string)
	if m["apiVersion"] == "v1" {
		switch kind {
		case "Secret":
			hideSecret(m)
			return true
		case "SecretList": // its items need not say what they are
			items, _ := m["items"].([]any)
			for _, item := range items {
				if secret, ok := item.(map[string]any); ok {
					hideSecret(secret)
				}
			}
			return true
		}
	}
	changed := false
	for key, value := range m {
		if text, ok := value.(string); ok {
			if clean, found := redactText(text); found {
				m[key], changed = clean, true
			}
			continue
		}
		changed = redactValue(value) || changed
	}
	return changed
}

func redactValue(v any) bool {
	changed := false
	switch v := v.(type) {
	case map[string]any:
		return redactMap(v)
	case []any:
		for i, item := range v {
			if text, ok := item.(string); ok {
				if clean, found := redactText(text); found {
					v[i], changed = clean, true
				}
				continue
			}
			changed = redactValue(item) || changed
		}
	}
	return changed
}

// hideSecret leaves of a Secret what it is called, its type, and the keys with the lengths of their values.
func hideSecret(m map[string]any) {
	for key, value := range m {
		switch key {
		case "apiVersion", "kind", "type", "immutable":
		case "metadata":
			if meta, ok := value.(map[string]any); ok {
				hideMetadata(meta)
				continue
			}
			m[key] = leftOut(value)
		case "data", "stringData":
			values, ok := value.(map[string]any)
			if !ok {
				m[key] = leftOut(value)
				continue
			}
			for name, v := range values {
				values[name] = lengthOf(v, key == "data")
			}
		default:
			m[key] = leftOut(value)
		}
	}
}

// hideMetadata drops who owns which field, and annotations that hold a copy of the Secret.
func hideMetadata(meta map[string]any) {
	delete(meta, "managedFields")
	annotations, ok := meta["annotations"].(map[string]any)
	if !ok {
		if meta["annotations"] != nil {
			meta["annotations"] = leftOut(meta["annotations"])
		}
		return
	}
	for name, v := range annotations {
		text, ok := v.(string)
		if !ok || len(text) > maxAnnotation || strings.ContainsAny(text, "{[") || strings.HasSuffix(name, "last-applied-configuration") {
			annotations[name] = leftOut(v)
		}
	}
}

// lengthOf says how long the value of a key is.
func lengthOf(v any, encoded bool) string {
	text, ok := v.(string)
	if !ok {
		return leftOut(v)
	}
	if encoded {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Sprintf("(%d characters that are not base64)", len(text))
		}
		return fmt.Sprintf("(%d bytes)", len(raw))
	}
	return fmt.Sprintf("(%d bytes)", len(text))
}

// leftOut stands for a value that is no known part of a Secret.
func leftOut(v any) string {
	if text, ok := v.(string); ok {
		return fmt.Sprintf("(left out: %d bytes)", len(text))
	}
	return "(left out)"
}

// yamlSecret finds what may be a Secret in YAML. JSON is YAML as well.
var yamlSecret = regexp.MustCompile(`["']?kind["']?\s*:\s*["']?Secret`)

// redactText redacts Secrets that a string holds as JSON or YAML, and reports whether it did. A text that looks as if it held one and cannot
// be read is left out.
func redactText(text string) (string, bool) {
	if !yamlSecret.MatchString(text) {
		return text, false
	}
	var document map[string]any
	if trimmed := strings.TrimSpace(text); strings.HasPrefix(trimmed, "{") && json.Unmarshal([]byte(trimmed), &document) == nil {
		if !redactMap(document) {
			return text, false
		}
		clean, err := json.Marshal(document)
		if err != nil {
			return leftOut(text), true
		}
		return string(clean), true
	}
	changed := false
	documents := regexp.MustCompile(`(?m)^---.*$`).Split(text, -1)
	for i, part := range documents {
		if !yamlSecret.MatchString(part) {
			continue
		}
		var document any
		if err := yaml.Unmarshal([]byte(part), &document); err != nil {
			return leftOut(text), true
		}
		if !redactValue(document) {
			continue
		}
		clean, err := yaml.Marshal(document)
		if err != nil {
			return leftOut(text), true
		}
		documents[i], changed = "\n"+string(clean), true
	}
	if !changed {
		return text, false
	}
	return strings.Join(documents, "---"), true
}

// redactConfigMap takes private keys and tokens out of the values of a ConfigMap. They do not belong there, but people put them there.
func redactConfigMap(m map[string]any) {
	values, _ := m["data"].(map[string]any)
	for key, v := range values {
		if text, ok := v.(string); ok {
			values[key] = hideTokens(text)
		}
	}
	binary, _ := m["binaryData"].(map[string]any)
	for key, v := range binary {
		text, _ := v.(string)
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			continue
		}
		if clean := hideTokens(string(raw)); clean != string(raw) {
			binary[key] = fmt.Sprintf("(left out: %d bytes with a private key or a token)", len(raw))
		} else if _, found := redactText(string(raw)); found {
			binary[key] = fmt.Sprintf("(left out: %d bytes with a Secret)", len(raw))
		}
	}
	if meta, ok := m["metadata"].(map[string]any); ok {
		if annotations, ok := meta["annotations"].(map[string]any); ok {
			for name, v := range annotations {
				if text, ok := v.(string); ok {
					annotations[name] = hideTokens(text)
				}
			}
		}
	}
}

// redactAudit returns an event of the audit log without what requests and answers say about Secrets and tokens. What is logged of them is
// decided by the cluster's audit policy; kl's own logs neither.
func redactAudit(line []byte) []byte {
	request, response := []byte(`"requestObject"`), []byte(`"responseObject"`)
	if !bytes.Contains(line, request) && !bytes.Contains(line, response) {
		return line
	}
	var event map[string]any
	if err := json.Unmarshal(line, &event); err != nil { // cut off when the machine died
		for _, mark := range [][]byte{request, response} {
			if i := bytes.Index(line, mark); i >= 0 {
				line = line[:i]
			}
		}
		return line
	}
	ref, _ := event["objectRef"].(map[string]any)
	resource, _ := ref["resource"].(string)
	private := resource == "secrets" || resource == "tokenreviews" || ref["subresource"] == "token"
	for _, key := range []string{"requestObject", "responseObject"} {
		switch object, ok := event[key].(map[string]any); {
		case event[key] == nil:
		case private:
			event[key] = "(left out)"
		case ok:
			Redact(object)
		default:
			redactValue(event[key])
		}
	}
	clean, err := json.Marshal(event)
	if err != nil {
		return []byte("(left out)")
	}
	return clean
}
