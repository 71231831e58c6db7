package export

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func ExampleRedact() {
	var object map[string]any
	_ = yaml.Unmarshal([]byte(`{apiVersion: v1, kind: Secret, metadata: {name: db}, data: {password: aHVudGVyMg==}}`), &object)
	Redact(object)
	out, _ := yaml.Marshal(object)
	_, _ = os.Stdout.Write(out)
	// Output:
	// apiVersion: v1
	// data:
	//   password: (7 bytes)
	// kind: Secret
	// metadata:
	//   name: db
}

// marker is the value that must not be found in what was redacted, in base64 neither.
const marker = "m4rker-value"

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	text = strings.NewReplacer("MARKER64", base64.StdEncoding.EncodeToString([]byte(marker)), "MARKER", marker).Replace(text)
	var object map[string]any
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// TestRedactLeaks has the smallest objects that would leak.
func TestRedactLeaks(t *testing.T) {
	for _, tt := range []struct{ name, object, keeps string }{
		{"data", `{apiVersion: v1, kind: Secret, data: {password: MARKER64}}`, "password"},
		{"data that is not base64", `{apiVersion: v1, kind: Secret, data: {password: MARKER}}`, "password"},
		{"data that is no map", `{apiVersion: v1, kind: Secret, data: MARKER}`, "data"},
		{"a value that is no text", `{apiVersion: v1, kind: Secret, data: {password: [MARKER]}}`, "password"},
		{"binary data", `{apiVersion: v1, kind: Secret, data: {blob: AAECbTRya2VyLXZhbHVl}}`, "(15 bytes)"},
		{"stringData", `{apiVersion: v1, kind: Secret, stringData: {password: MARKER}}`, "password"},
		{"last-applied-configuration", `{apiVersion: v1, kind: Secret, metadata: {name: s, annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"kind":"Secret","stringData":{"a":"MARKER"}}'}}}`, "last-applied"},
		{"another tool's copy", `{apiVersion: v1, kind: Secret, metadata: {annotations: {tool/original: '{"a":"MARKER64"}'}}}`, "tool/original"},
		{"annotations that are no map", `{apiVersion: v1, kind: Secret, metadata: {annotations: MARKER}}`, "annotations"},
		{"metadata that is no map", `{apiVersion: v1, kind: Secret, metadata: MARKER}`, "metadata"},
		{"managedFields", `{apiVersion: v1, kind: Secret, metadata: {name: s, managedFields: [{manager: kubectl, fieldsV1: {'f:data': {'f:password': {'v:MARKER': {}}}}}]}}`, "name"},
		{"an unknown field", `{apiVersion: v1, kind: Secret, dataV2: {password: MARKER}}`, "dataV2"},
		{"in a List", `{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod}, {apiVersion: v1, kind: Secret, data: {password: MARKER64}}]}`, "Pod"},
		{"in a SecretList, without a kind", `{apiVersion: v1, kind: SecretList, items: [{data: {password: MARKER64}}]}`, "password"},
		{"in a custom resource", `{apiVersion: example.com/v1, kind: Bundle, spec: {objects: [{apiVersion: v1, kind: Secret, stringData: {password: MARKER}}]}}`, "Bundle"},
		{"in an annotation of another kind", `{apiVersion: v1, kind: ConfigMap, metadata: {annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Secret","data":{"password":"MARKER64"}}]}'}}}`, "items"},
		{"as YAML in a ConfigMap", "{apiVersion: v1, kind: ConfigMap, data: {install: \"apiVersion: v1\\nkind: Pod\\n---\\napiVersion: v1\\nkind: Secret\\nstringData:\\n  password: MARKER\\n\"}}", "kind: Pod"},
		{"as YAML that cannot be read", "{apiVersion: v1, kind: ConfigMap, data: {install: \"kind: Secret\\n {{ template }}: MARKER\"}}", "install"},
		{"in binaryData of a ConfigMap", `{apiVersion: v1, kind: ConfigMap, binaryData: {install: ` + base64.StdEncoding.EncodeToString([]byte("apiVersion: v1\nkind: Secret\nstringData:\n  a: "+marker+"\n")) + `}}`, "install"},
		{"a private key in a ConfigMap", "{apiVersion: v1, kind: ConfigMap, data: {key: \"-----BEGIN RSA PRIVATE KEY-----\\nMARKER\\n-----END RSA PRIVATE KEY-----\\n\"}}", "private key left out"},
		{"a kubeconfig in a ConfigMap", "{apiVersion: v1, kind: ConfigMap, data: {kubeconfig: \"users:\\n- user:\\n    token: MARKER\\n    client-key-data: MARKER64\\n\"}}", "client-key-data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			object := decode(t, tt.object)
			Redact(object)
			out, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			for _, leak := range []string{marker, base64.StdEncoding.EncodeToString([]byte(marker)), "AAECbTRya2VyLXZhbHVl", base64.StdEncoding.EncodeToString([]byte("stringData"))} {
				if bytes.Contains(out, []byte(leak)) {
					t.Errorf("%s is in %s", leak, out)
				}
			}
			if !bytes.Contains(out, []byte(tt.keeps)) {
				t.Errorf("%s is gone from %s", tt.keeps, out)
			}
		})
	}
}

// TestRedactKeeps has objects that stay as they are.
func TestRedactKeeps(t *testing.T) {
	for name, text := range map[string]string{
		"a custom resource":              `{apiVersion: example.com/v1, kind: Database, metadata: {managedFields: [{manager: x}]}, spec: {data: {a: MARKER}, stringData: b, password: MARKER}}`,
		"another kind of the same name":  `{apiVersion: example.com/v1, kind: Secret, data: {a: MARKER64}}`,
		"a reference to a Secret":        `{apiVersion: example.com/v1, kind: Issuer, spec: {ref: {kind: Secret, name: tls}, note: "set kind: Secret here"}}`,
		"a pod with its last-applied":    `{apiVersion: v1, kind: Pod, metadata: {annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"kind":"Pod"}'}}}`,
		"a Secret's type and short note": `{apiVersion: v1, kind: Secret, type: Opaque, immutable: true, metadata: {name: s, labels: {a: b}, annotations: {owner: ann}}}`,
		"a ConfigMap":                    `{apiVersion: v1, kind: ConfigMap, data: {config: "listen: 8080\nca: |\n  -----BEGIN CERTIFICATE-----\n"}, binaryData: {logo: AAEC}}`,
	} {
		t.Run(name, func(t *testing.T) {
			object := decode(t, text)
			Redact(object)
			if d := cmp.Diff(decode(t, text), object); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRedactAudit(t *testing.T) {
	for _, tt := range []struct{ name, line, want string }{
		{"no objects", `{"verb":"get","objectRef":{"resource":"secrets"}}`, `{"verb":"get","objectRef":{"resource":"secrets"}}`},
		{"a Secret that is read", `{"objectRef":{"resource":"secrets"},"responseObject":{"kind":"Secret","data":{"a":"MARKER"}}}`,
			`{"objectRef":{"resource":"secrets"},"responseObject":"(left out)"}`},
		{"a patch of a Secret", `{"objectRef":{"resource":"secrets"},"requestObject":[{"op":"add","path":"/data/a","value":"MARKER"}]}`,
			`{"objectRef":{"resource":"secrets"},"requestObject":"(left out)"}`},
		{"a ServiceAccount's token", `{"objectRef":{"resource":"serviceaccounts","subresource":"token"},"responseObject":{"status":{"token":"MARKER"}}}`,
			`{"objectRef":{"resource":"serviceaccounts","subresource":"token"},"responseObject":"(left out)"}`},
		{"an object with a Secret in it", `{"objectRef":{"resource":"bundles"},"requestObject":{"items":[{"apiVersion":"v1","kind":"Secret","stringData":{"a":"MARKER"}}]}}`,
			`{"objectRef":{"resource":"bundles"},"requestObject":{"items":[{"apiVersion":"v1","kind":"Secret","stringData":{"a":"(6 bytes)"}}]}}`},
		{"another object", `{"objectRef":{"resource":"pods"},"requestObject":{"kind":"Pod"}}`, `{"objectRef":{"resource":"pods"},"requestObject":{"kind":"Pod"}}`},
		{"an event that was cut off", `{"objectRef":{"resource":"secrets"},"requestObject":{"data":{"a":"MARK`, `{"objectRef":{"resource":"secrets"},`},
	} {
		if got := string(redactAudit([]byte(tt.line))); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestScrubber(t *testing.T) {
	secret := func(kind corev1.SecretType, data map[string]string) corev1.Secret {
		s := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}, Type: kind, Data: map[string][]byte{}}
		for k, v := range data {
			s.Data[k] = []byte(v)
		}
		return s
	}
	values := newKnown([]corev1.Secret{
		secret(corev1.SecretTypeOpaque, map[string]string{"password": marker + "\n", "longer": marker + "-2", "user": "postgres", "pin": "1234", "ca.crt": "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUf\n", "pem": "first-line-1\nsecond-line-2"}),
		secret(corev1.SecretTypeServiceAccountToken, map[string]string{"namespace": "kube-system-2", "token": "t0ken-of-the-account"}),
	})
	const mark = "(value of Secret shop/db, "
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "a\n\nb", "a\n\nb"},
		{"values", "x " + marker + "-2 " + marker + " y\n", "x " + mark + "longer) " + mark + "password) y\n"},
		{"in base64", base64.StdEncoding.EncodeToString([]byte(marker + "\n")), mark + "password)"},
		{"lines of a value", "a\nsecond-line-2\n", "a\n" + mark + "pem)\n"},
		{"words, short and public values", "postgres 1234 MIIBszCCAVmgAwIBAgIUf kube-system-2\n", "postgres 1234 MIIBszCCAVmgAwIBAgIUf kube-system-2\n"},
		{"a ServiceAccount's token", "t0ken-of-the-account\n", mark + "token)\n"},
		{"another token", "Authorization: Bearer abcdefghijklmnopqrst\neyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlIn0.c2lnbmF0dXJl!\n", "Authorization: Bearer (left out)\n(token left out)!\n"},
		{"a private key", "a -----BEGIN PRIVATE KEY-----\nMIIE\nMIIE\n-----END PRIVATE KEY----- b\nc\n", "a (private key left out)\n b\nc\n"},
		{"a private key in one line", `{"key":"-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\n"}` + "\n", `{"key":"(private key left out)\n"}` + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 7, len(tt.text)} { // however it is written
				var out bytes.Buffer
				s := &scrubber{to: &out, known: values}
				for rest := tt.text; rest != ""; {
					n := min(size, len(rest))
					if _, err := s.Write([]byte(rest[:n])); err != nil {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				if err := s.Close(); err != nil || out.String() != tt.want {
					t.Errorf("in steps of %d bytes: %v, %q, want %q", size, err, out.String(), tt.want)
				}
			}
		})
	}
	var out bytes.Buffer
	s := &scrubber{to: &out}
	fmt.Fprint(s, strings.Repeat("x", 3*maxLine), "\ny\n")
	if err := s.Close(); err != nil || out.Len() != 3*maxLine+3 {
		t.Errorf("a long line: %v, %d bytes", err, out.Len())
	}
}
