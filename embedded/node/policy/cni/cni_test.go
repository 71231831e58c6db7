package cni

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

const result = `{"cniVersion":"1.0.0","interfaces":[{"name":"veth1"}],"ips":[{"address":"10.244.1.9/24","gateway":"10.244.1.1"}]}`

// TestRun plays the runtime on one side and the agent on the other.
func TestRun(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		said <- r.Method + " " + r.URL.Path + " " + string(b)
	})}
	go srv.Serve(l)
	defer srv.Close()
	const args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME=a;K8S_POD_INFRA_CONTAINER_ID=1;K8S_POD_UID=u"
	tests := []struct {
		name, command, args, socket, prev string
		said, out                         string
		fails                             bool
	}{
		{"add", "ADD", args, socket, result, `POST /v1/pods {"namespace":"x","name":"a","uid":"u","addrs":["10.244.1.9"]}`, result, false},
		{"add without an agent", "ADD", args, socket + ".none", result, "", result, false},
		{"add of what is no pod", "ADD", "", socket, result, "", result, false},
		{"add as the first plugin", "ADD", args, socket, "", "", "must come after", true},
		{"delete", "DEL", args, socket, result, `DELETE /v1/pods {"namespace":"x","name":"a","uid":"u","addrs":["10.244.1.9"]}`, "", false},
		{"delete without a result", "DEL", args, socket, "", `DELETE /v1/pods {"namespace":"x","name":"a","uid":"u","addrs":null}`, "", false},
		{"check", "CHECK", args, socket, result, "", "", false},
		{"version", "VERSION", "", "", "", "", "supportedVersions", false},
		{"nonsense", "MUL", "", socket, result, "", `"code":100`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conf := map[string]any{"cniVersion": "1.0.0", "name": "kl", "type": "kl-policy", "socket": tt.socket}
			if tt.prev != "" {
				conf["prevResult"] = json.RawMessage(tt.prev)
			}
			in, err := json.Marshal(conf)
			if err != nil {
				t.Fatal(err)
			}
			env := map[string]string{"CNI_COMMAND": tt.command, "CNI_ARGS": tt.args}
			var out bytes.Buffer
			err = Run(t.Context(), func(k string) string { return env[k] }, bytes.NewReader(in), &out)
			if (err != nil) != tt.fails || !strings.Contains(out.String(), tt.out) || tt.out == "" && out.Len() > 0 {
				t.Errorf("error %v, output %q", err, out.String())
			}
			got := ""
			select {
			case got = <-said: // sent before Run returned
			default:
			}
			if got != tt.said {
				t.Errorf("the agent was told %q, want %q", got, tt.said)
			}
		})
	}
}
