package config

import (
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/klkube/kl/cluster"
)

func (v *validator) audit(s cluster.Spec) {
	flags := s.Kubernetes.ExtraArgs[string(cluster.KubeAPIServer)]
	clash := func(flag, field string, set bool) {
		if _, ok := flags[flag]; ok && set {
			v.bad("kubernetes.extraArgs.kube-apiserver."+flag, "%s is set, too: remove one of them", field)
		}
	}
	w := s.Audit.Webhook
	clash("audit-policy-file", "audit.policy", s.Audit.Policy != "")
	clash("audit-webhook-config-file", "audit.webhook", w.Enabled())
	clash("audit-webhook-batch-max-wait", "audit.webhook.batchMaxWait", w.BatchMaxWait != "")
	clash("audit-webhook-batch-max-size", "audit.webhook.batchMaxSize", w.BatchMaxSize != 0)
	switch {
	case w.Kubeconfig != "" && w.URL != "":
		v.bad("audit.webhook.url", "kubeconfig is set, too, and has a URL of its own: remove one of them")
	case w.Kubeconfig != "" && w.CA != "":
		v.bad("audit.webhook.ca", "kubeconfig is set, too, and has authorities of its own: remove one of them")
	case w.URL != "":
		v.webhookURL("audit.webhook.url", w.URL)
	case w.Enabled() && w.Kubeconfig == "":
		v.bad("audit.webhook", "url or kubeconfig is missing")
	}
	if d, err := time.ParseDuration(w.BatchMaxWait); w.BatchMaxWait != "" && (err != nil || d <= 0) {
		v.bad("audit.webhook.batchMaxWait", "%q is no time: write it like 5s or 1m", w.BatchMaxWait)
	}
	if w.BatchMaxSize < 0 {
		v.bad("audit.webhook.batchMaxSize", "%d is negative", w.BatchMaxSize)
	}
}

// file checks a field that holds a file's path or, in several lines, its content.
func (v *validator) file(path, f string) {
	if f != "" && !cluster.HoldsContent(f) {
		v.exists(path, f)
	}
}

func (v *validator) exists(path, f string) {
	if v.m.Exists == nil || v.m.Exists(f) {
		return
	}
	if strings.ContainsFunc(f, func(r rune) bool { return !unicode.IsPrint(r) }) {
		f = strconv.Quote(f)
	}
	v.bad(path, "%s does not exist", f)
}

func (v *validator) webhookURL(path, given string) {
	u, err := url.Parse(given)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		v.bad(path, "%q is not a URL: write it like https://sink.audit.svc:8443/events", given)
	case u.User != nil:
		v.bad(path, "credentials in a URL are not sent: put them into a file, and name it as kubeconfig")
	case u.RawQuery != "" || u.Fragment != "":
		v.bad(path, "%q has a query or fragment, which is not sent", given)
	}
}
