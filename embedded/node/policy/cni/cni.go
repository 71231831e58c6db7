// Package cni is a CNI plugin that makes a pod wait for its network policies. It is chained after the plugin that gives the
// pod its address, does not change the network, and reports the address to the node's policy agent before there is any
// container in the pod:
//
//	{"cniVersion": "1.0.0", "name": "kl", "plugins": [{"type": "ptp", …}, {"type": "kl-policy"}]}
//
// Without the plugin, where policies exist, a new pod is cut off until the agent learns its address from the API server. For
// the same reason it is no failure if the agent does not answer: the pod starts, and its traffic is dropped until the agent
// is back.
//
// The plugin is a program of its own that is started for every pod, so it uses the standard library only.
package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Socket is where the agent listens unless the configuration says otherwise.
const Socket = "/run/kl/policy.sock"

// agentTimeout is how long ADD and DEL wait for the agent. The kubelet would wait for minutes.
const agentTimeout = 5 * time.Second

// config is the part of the network configuration that this plugin uses.
type config struct {
	CNIVersion string          `json:"cniVersion"`
	Socket     string          `json:"socket"`
	PrevResult json.RawMessage `json:"prevResult"`
}

// claim is policy.Claim, which this package must not import.
type claim struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	UID       string       `json:"uid,omitempty"`
	Addrs     []netip.Addr `json:"addrs"`
}

// Run executes CNI_COMMAND. The result, or the error in the format of the specification, is written to out.
func Run(ctx context.Context, env func(string) string, in io.Reader, out io.Writer) error {
	version := "1.0.0"
	err := func() error {
		if env("CNI_COMMAND") == "VERSION" {
			_, err := io.WriteString(out, `{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}`+"\n")
			return err
		}
		var c config
		if err := json.NewDecoder(in).Decode(&c); err != nil {
			return fmt.Errorf("read network configuration: %w", err)
		}
		if c.CNIVersion != "" {
			version = c.CNIVersion
		}
		return c.command(ctx, env, out)
	}()
	if err == nil {
		return nil
	}
	report := map[string]any{"cniVersion": version, "code": 100, "msg": err.Error()}
	return errors.Join(err, json.NewEncoder(out).Encode(report))
}

func (c config) command(ctx context.Context, env func(string) string, out io.Writer) error {
	switch env("CNI_COMMAND") {
	case "ADD":
		if len(c.PrevResult) == 0 {
			return errors.New("kl-policy must come after the plugin that assigns the address")
		}
		pod, ok := c.claim(env("CNI_ARGS"))
		if ok && len(pod.Addrs) > 0 {
			// Without an answer the pod is cut off until the agent learns of it from the API server, which is safe.
			_ = c.send(ctx, http.MethodPost, pod)
		}
		_, err := out.Write(append(c.PrevResult, '\n'))
		return err
	case "DEL":
		if pod, ok := c.claim(env("CNI_ARGS")); ok {
			_ = c.send(ctx, http.MethodDelete, pod) // an agent that does not run has no claims
		}
		return nil
	case "CHECK", "STATUS", "GC":
		return nil
	}
	return fmt.Errorf("unknown CNI_COMMAND %q", env("CNI_COMMAND"))
}

// claim reads the pod's name from the runtime's arguments and its addresses from the previous plugin's result. It returns
// false if the arguments do not name a pod.
func (c config) claim(args string) (claim, bool) {
	var pod claim
	for arg := range strings.SplitSeq(args, ";") {
		switch k, v, _ := strings.Cut(arg, "="); k {
		case "K8S_POD_NAMESPACE":
			pod.Namespace = v
		case "K8S_POD_NAME":
			pod.Name = v
		case "K8S_POD_UID":
			pod.UID = v
		}
	}
	var result struct {
		IPs []struct {
			Address string `json:"address"` // with prefix length
		} `json:"ips"`
	}
	if len(c.PrevResult) > 0 && json.Unmarshal(c.PrevResult, &result) == nil {
		for _, ip := range result.IPs {
			if p, err := netip.ParsePrefix(ip.Address); err == nil {
				pod.Addrs = append(pod.Addrs, p.Addr())
			}
		}
	}
	return pod, pod.Namespace != "" && pod.Name != ""
}

// send sends the claim to the agent. The agent answers a POST when the pod is programmed.
func (c config) send(ctx context.Context, method string, pod claim) error {
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	body, err := json.Marshal(pod)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent/v1/pods", bytes.NewReader(body))
	if err != nil {
		return err
	}
	socket := c.Socket
	if socket == "" {
		socket = Socket
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("agent: %s", res.Status)
	}
	return nil
}
