package config

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// maxRegistry is how long a registry's name may be, as for names of images.
const maxRegistry = 255

func (v *validator) registries(r cluster.Registries) {
	if r.Port < 0 || r.Port > 65535 {
		v.bad("registries.port", "%d is not a port: use 1 to 65535", r.Port)
	}
	if r.Port == 0 && v.w.positions["registries.port"] != nil {
		v.bad("registries.port", "0 is not a port: leave it out for %d, or the registry by disable: [%s]", cluster.DefaultRegistryPort, cluster.FeatureRegistry)
	}
	for _, host := range sortedKeys(r.Mirrors) {
		v.mirror("registries.mirrors."+host, host, r.Mirrors[host])
	}
	for _, host := range sortedKeys(r.CAFiles) {
		path := "registries.caFiles." + host
		v.registry(path, host)
		if r.CAFiles[host] == "" {
			v.bad(path, "names no file")
			continue
		}
		v.exists(path, r.CAFiles[host])
	}
	for i, host := range r.Insecure {
		v.registry(fmt.Sprintf("registries.insecure[%d]", i), host)
	}
}

// registry checks a registry as names of images have it.
func (v *validator) registry(path, host string) {
	if u, err := url.Parse("//" + host); err != nil || u.Host != host || host == "" || len(host) > maxRegistry || strings.Contains(host, "@") {
		v.bad(path, "%q is not a registry: write it as in names of images, like docker.io or registry.example:5000", statefile.Shorten(host, 100))
	}
}

func (v *validator) mirror(path, host string, endpoints []string) {
	if host == "" || strings.ContainsAny(host, "/ ") {
		v.bad(path, "%q is not a registry host", host)
	}
	for i, e := range endpoints {
		if !strings.HasPrefix(e, "http://") && !strings.HasPrefix(e, "https://") {
			v.bad(fmt.Sprintf("%s[%d]", path, i), "%q is not a URL: begin with http:// or https://", e)
		} else if u, err := url.Parse(e); err != nil || u.Host == "" {
			v.bad(fmt.Sprintf("%s[%d]", path, i), "%q is not the URL of a registry", e)
		}
	}
}
