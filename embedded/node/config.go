package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// ReadConfig reads node.json and validates it. An unknown field is an error, since it would be a setting without effect.
func ReadConfig(file string) (cluster.NodeConfig, error) {
	data, err := statefile.Read(file)
	if err != nil {
		return cluster.NodeConfig{}, err
	}
	c, err := parseConfig(data)
	if err != nil {
		return cluster.NodeConfig{}, fmt.Errorf("read %s: %w", file, statefile.Plain(err))
	}
	return c, nil
}

func parseConfig(data []byte) (cluster.NodeConfig, error) {
	var c cluster.NodeConfig
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return cluster.NodeConfig{}, err
	}
	if err := dec.Decode(new(json.RawMessage)); !errors.Is(err, io.EOF) {
		return cluster.NodeConfig{}, errors.New("more than one document")
	}
	return c, checkConfig(c)
}

// checkConfig returns an error for each invalid field.
func checkConfig(c cluster.NodeConfig) error {
	var errs []error
	bad := func(field, value, want string) {
		errs = append(errs, fmt.Errorf("%s: %q is not %s", field, value, want))
	}
	if c.Cluster == "" {
		errs = append(errs, errors.New("cluster: missing"))
	}
	if msgs := validation.IsDNS1123Subdomain(c.Name); len(msgs) > 0 {
		bad("name", c.Name, "a node name")
	}
	for field, value := range map[string]string{"gateway": c.Gateway, "dns": c.DNS} {
		if a, err := netip.ParseAddr(value); err != nil || !a.Is4() {
			bad(field, value, "an IPv4 address")
		}
	}
	for field, value := range map[string]string{"podCIDR": c.PodCIDR, "serviceCIDR": c.ServiceCIDR} {
		if p, err := netip.ParsePrefix(value); err != nil || !p.Addr().Is4() {
			bad(field, value, "an IPv4 range")
		}
	}
	if c.APIPort < 1 || c.APIPort > 65535 {
		bad("apiPort", fmt.Sprint(c.APIPort), "a port")
	}
	if msgs := validation.IsDNS1123Subdomain(c.Domain); len(msgs) > 0 {
		bad("domain", c.Domain, "a domain")
	}
	if c.CNI != "kl" && c.CNI != "none" {
		bad("cni", c.CNI, "kl or none")
	}
	if c.MilliCPUs < 0 || c.MemoryBytes < 0 {
		errs = append(errs, errors.New("milliCPUs, memoryBytes: negative"))
	}
	if _, err := parseTaints(c.Taints); err != nil {
		errs = append(errs, fmt.Errorf("taints: %w", err))
	}
	return errors.Join(errs...)
}

// parseTaints parses taints of the form key[=value]:effect.
func parseTaints(taints []string) ([]corev1.Taint, error) {
	var parsed []corev1.Taint
	for _, s := range taints {
		left, effect, ok := strings.Cut(s, ":")
		if !ok {
			return nil, fmt.Errorf("%q has no effect: want key[=value]:effect", s)
		}
		t := corev1.Taint{Effect: corev1.TaintEffect(effect)}
		t.Key, t.Value, _ = strings.Cut(left, "=")
		switch t.Effect {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			return nil, fmt.Errorf("%q: effect is not NoSchedule, PreferNoSchedule or NoExecute", s)
		}
		if len(validation.IsQualifiedName(t.Key)) > 0 {
			return nil, fmt.Errorf("%q: key is not a label name", s)
		}
		if t.Value != "" && len(validation.IsValidLabelValue(t.Value)) > 0 {
			return nil, fmt.Errorf("%q: value is not a label value", s)
		}
		parsed = append(parsed, t)
	}
	return parsed, nil
}
