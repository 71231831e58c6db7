package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const result = `{"cniVersion":"1.0.0","interfaces":[{"name":"veth1"}],"ips":[{"address":"10.244.1.9/24","gateway":"10.244.1.1"}]}`

// TestRun plays the runtime on one side and the agent on the other.
func TestRun(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan string, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		received <- r.Method + " " + r.URL.Path + " " + string(b)
	})}
	go srv.Serve(l)
	defer srv.Close()
	const args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=x;K8S_POD_NAME=a;K8S_POD_INFRA_CONTAINER_ID=1;K8S_POD_UID=u"
	tests := []struct {
		name, command, args, socket, prev string
		want, out                         string
		fails                             bool
	}{
		{"add", "ADD", args, socket, result, `POST /v1/pods {"namespace":"x","name":"a","uid":"u","addrs":["10.244.1.9"]}`, result, false},
		{"add without an agent", "ADD", args, socket + ".none", result, "", result, false},
		{"add without a pod", "ADD", "", socket, result, "", result, false},
		{"add as the first plugin", "ADD", args, socket, "", "", "must come after", true},
		{"delete", "DEL", args, socket, result, `DELETE /v1/pods {"namespace":"x","name":"a","uid":"u","addrs":["10.244.1.9"]}`, "", false},
		{"delete without a result", "DEL", args, socket, "", `DELETE /v1/pods {"namespace":"x","name":"a","uid":"u","addrs":null}`, "", false},
		{"check", "CHECK", args, socket, result, "", "", false},
		{"version", "VERSION", "", "", "", "", "supportedVersions", false},
		{"unknown command", "MUL", "", socket, result, "", `"code":100`, true},
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
			case got = <-received: // received before Run returned
			default:
			}
			if got != tt.want {
				t.Errorf("the agent received %q, want %q", got, tt.want)
			}
		})
	}
}

// runPlugin runs the plugin for pod x/a with a network configuration, and returns its output and error.
func runPlugin(ctx context.Context, command, conf string) (out string, err error) {
	env := map[string]string{"CNI_COMMAND": command, "CNI_ARGS": "K8S_POD_NAMESPACE=x;K8S_POD_NAME=a"}
	var b bytes.Buffer
	err = Run(ctx, func(k string) string { return env[k] }, strings.NewReader(conf), &b)
	return b.String(), err
}

// listenAgent listens where the agent would.
func listenAgent(t *testing.T) (net.Listener, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, socket
}

// TestErrors: errors have the format of the specification, with the version of the configuration.
func TestErrors(t *testing.T) {
	for _, tt := range []struct{ name, command, conf, version, msg string }{
		{"not JSON", "ADD", `{"cniVersion"`, "1.0.0", "read network configuration: unexpected EOF"},
		{"no version", "ADD", `{}`, "1.0.0", "kl-policy must come after the plugin that assigns the address"},
		{"older version", "ADD", `{"cniVersion":"0.4.0"}`, "0.4.0", "kl-policy must come after the plugin that assigns the address"},
		{"unknown command", "FLY", `{"cniVersion":"1.1.0"}`, "1.1.0", `unknown CNI_COMMAND "FLY"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := runPlugin(t.Context(), tt.command, tt.conf)
			if err == nil || err.Error() != tt.msg {
				t.Errorf("error is %v, want %s", err, tt.msg)
			}
			var got struct {
				CNIVersion string
				Code       int
				Msg        string
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("output %q: %v", out, err)
			}
			if got.CNIVersion != tt.version || got.Code < 100 || got.Msg != tt.msg { // codes below 100 are the specification's
				t.Errorf("output is %+v", got)
			}
		})
	}
}

// TestAddresses: only addresses are claimed, those of IPv6 too.
func TestAddresses(t *testing.T) {
	var c config
	c.PrevResult = json.RawMessage(`{"ips":[{"address":"10.244.1.9/24"},{"address":"fd00::9/64"},{"address":"10.244.1.9"},{"address":"pod"}]}`)
	got, ok := c.claim("K8S_POD_NAMESPACE=x;K8S_POD_NAME=a")
	want := claim{Namespace: "x", Name: "a", Addrs: []netip.Addr{netip.MustParseAddr("10.244.1.9"), netip.MustParseAddr("fd00::9")}}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("claim is %+v, %v, want %+v", got, ok, want)
	}
	for _, args := range []string{"", "K8S_POD_NAME=a", "K8S_POD_NAMESPACE=x", "K8S_POD_NAMESPACE;K8S_POD_NAME"} {
		if got, ok := c.claim(args); ok {
			t.Errorf("arguments %q are pod %+v", args, got)
		}
	}
}

// TestAddFailsOpen: the result is passed on although the agent refuses or does not answer; the pod starts without its
// traffic being allowed.
func TestAddFailsOpen(t *testing.T) {
	t.Run("refuses", func(t *testing.T) {
		l, socket := listenAgent(t)
		asked := make(chan struct{}, 1)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked <- struct{}{}
			http.Error(w, "not synced yet", http.StatusServiceUnavailable)
		})}
		go srv.Serve(l)
		defer srv.Close()
		out, err := runPlugin(t.Context(), "ADD", `{"socket":"`+socket+`","prevResult":`+result+`}`)
		if err != nil || out != result+"\n" {
			t.Errorf("error %v, output %q", err, out)
		}
		if len(asked) != 1 {
			t.Error("the agent was not asked")
		}
	})
	t.Run("does not answer", func(t *testing.T) {
		_, socket := listenAgent(t) // connections wait to be accepted
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		out, err := runPlugin(ctx, "ADD", `{"socket":"`+socket+`","prevResult":`+result+`}`)
		if err != nil || out != result+"\n" {
			t.Errorf("error %v, output %q", err, out)
		}
		if ctx.Err() == nil {
			t.Error("ADD did not wait for the agent")
		}
	})
}
