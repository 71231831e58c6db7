package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// With KL_TEST_MAIN set, the test binary is kl-policy.
func TestMain(m *testing.M) {
	if os.Getenv("KL_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// plugin runs kl-policy as containerd does.
func plugin(t *testing.T, command, config string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "KL_TEST_MAIN=1", "CNI_COMMAND="+command, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0",
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(config), &out, &errs
	_ = cmd.Run() // the exit code is the result
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// failure is the error of the CNI specification, which a plugin prints to stdout.
func failure(t *testing.T, stdout string) (msg string) {
	t.Helper()
	var report struct {
		CNIVersion string
		Code       int
		Msg        string
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("stdout is no CNI error: %v\n%s", err, stdout)
	}
	if report.CNIVersion != "1.0.0" || report.Code < 100 {
		t.Errorf("error is %+v, want version 1.0.0 and a code of 100 or more, which plugins are free to use", report)
	}
	return report.Msg
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := plugin(t, "VERSION", "")
	var v struct {
		CNIVersion        string
		SupportedVersions []string
	}
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != 0 || stderr != "" {
		t.Fatalf("exit code %d, %v, stderr %q", code, err, stderr)
	}
	if v.CNIVersion != "1.0.0" || len(v.SupportedVersions) == 0 {
		t.Errorf("printed %s", stdout)
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct{ name, command, config, want string }{
		{"ADD before the plugin that gives the address", "ADD", `{"cniVersion": "1.0.0", "name": "kl"}`, "must come after"},
		{"no configuration", "ADD", "", "read network configuration"},
		{"damaged configuration", "DEL", "{", "read network configuration"},
		{"unknown command", "EAT", `{"cniVersion": "1.0.0"}`, `unknown CNI_COMMAND "EAT"`},
		{"no command", "", `{"cniVersion": "1.0.0"}`, `unknown CNI_COMMAND ""`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := plugin(t, tt.command, tt.config)
			if code != 1 || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, stderr %q, want 1 and %q", code, stderr, tt.want)
			}
			if msg := failure(t, stdout); !strings.Contains(msg, tt.want) {
				t.Errorf("error is %q, want %q in it", msg, tt.want)
			}
		})
	}
}

// ADD tells the agent the pod and its address, waits for the answer, and passes on the result of the plugin before it.
func TestAddAndDel(t *testing.T) {
	dir, err := os.MkdirTemp("", "klp") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan string, 2)
	agent := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- r.Method + " " + string(body)
	}))
	agent.Listener.Close()
	agent.Listener = l
	agent.Start()
	defer agent.Close()

	const result = `{"cniVersion":"1.0.0","ips":[{"address":"10.244.0.7/24"}]}`
	config := `{"cniVersion": "1.0.0", "socket": "` + socket + `", "prevResult": ` + result + `}`
	for command, want := range map[string]struct{ request, stdout string }{
		"ADD": {`POST {"namespace":"default","name":"web","uid":"u1","addrs":["10.244.0.7"]}`, result + "\n"},
		"DEL": {`DELETE {"namespace":"default","name":"web","uid":"u1","addrs":["10.244.0.7"]}`, ""},
	} {
		code, stdout, stderr := plugin(t, command, config)
		if code != 0 || stdout != want.stdout {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; want stdout %q", command, code, stdout, stderr, want.stdout)
		}
		select {
		case got := <-requests:
			if got != want.request {
				t.Errorf("%s: the agent got %s, want %s", command, got, want.request)
			}
		default:
			t.Errorf("%s: the agent got no request before the plugin ended", command)
		}
	}
}

// An agent that does not run keeps no pod from starting: its traffic is dropped until the agent is back.
func TestAddWithoutAgent(t *testing.T) {
	const result = `{"ips":[{"address":"10.244.0.7/24"}]}`
	code, stdout, stderr := plugin(t, "ADD", `{"cniVersion": "1.0.0", "socket": "/none", "prevResult": `+result+`}`)
	if code != 0 || stdout != result+"\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q; want %q", code, stdout, stderr, result)
	}
}
