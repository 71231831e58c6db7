package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
)

// retirable returns an error that names everything that may still rely on old authorities or on the old key of tokens, unless force is
// given. Then it has the tokens in Secrets signed with the new key: they live as long as their Secret.
func (r *rotation) retirable(ctx context.Context, have cluster.Rotation, force bool) error {
	if !force {
		reasons, err := r.reliant(ctx, have, time.Now())
		if err != nil {
			return err
		}
		if len(reasons) > 0 {
			return &cluster.Error{
				Op: "retire old authorities of cluster " + r.layout.Name, Err: errors.New(strings.Join(reasons, "; ")),
				Hint: "give the command again then, or end the trust now with --force",
			}
		}
	}
	return r.renewTokens(ctx)
}

// reliant says what may still rely on what is to be retired.
func (r *rotation) reliant(ctx context.Context, have cluster.Rotation, now time.Time) ([]string, error) {
	var reasons []string
	for _, n := range r.nodes {
		if n.State != cluster.NodeRunning {
			reasons = append(reasons, fmt.Sprintf("node %s is %s and has an old certificate", n.Name, strings.ToLower(string(n.State))))
		}
	}
	outdated, err := r.outdated(ctx, have)
	if err != nil {
		return nil, err
	}
	for _, k := range outdated {
		reasons = append(reasons, fmt.Sprintf("the kubelet of node %s may have an old certificate: %s", k.node, k.why))
	}
	if end := have.Replaced.Add(tokenLifetime(r.spec)); now.Before(end) {
		reasons = append(reasons, fmt.Sprintf("tokens that the old key has signed may live until %s (%s)",
			end.UTC().Format("2006-01-02 15:04 MST"), end.Sub(now).Round(time.Minute)))
	}
	pods, err := r.oldPods(ctx, have.Published)
	if err != nil {
		return nil, err
	}
	if len(pods) > 0 {
		reasons = append(reasons, fmt.Sprintf("containers that began before the new authority may know the old one alone, restart them: %s", some(pods)))
	}
	return reasons, nil
}

// some lists a few of many names.
func some(names []string) string {
	const most = 5
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// defaultTokenLifetime is how long tokens of ServiceAccounts live at most, unless kl.yaml says otherwise: see the API server's flags.
const defaultTokenLifetime = 24 * time.Hour

// extendedTokenLifetime is how long those of pods live if kl.yaml has them extended.
const extendedTokenLifetime = 365*24*time.Hour + defaultTokenLifetime

func tokenLifetime(s cluster.Spec) time.Duration {
	flags := s.Kubernetes.ExtraArgs[string(cluster.KubeAPIServer)]
	longest, _ := time.ParseDuration(flags["service-account-max-token-expiration"])
	if flags["service-account-extend-token-expiration"] == "true" {
		longest = max(longest, extendedTokenLifetime)
	}
	return cmp.Or(longest, defaultTokenLifetime)
}

// pods is what kubectl answers.
type pods struct {
	Items []struct {
		Metadata meta `json:"metadata"`
		Spec     struct {
			Volumes []struct {
				Projected struct {
					Sources []struct {
						ConfigMap struct {
							Name string `json:"name"`
						} `json:"configMap"`
					} `json:"sources"`
				} `json:"projected"`
			} `json:"volumes"`
		} `json:"spec"`
		Status struct {
			Containers []struct {
				State struct {
					Running struct {
						StartedAt time.Time `json:"startedAt"`
					} `json:"running"`
				} `json:"state"`
			} `json:"containerStatuses"`
		} `json:"status"`
	} `json:"items"`
}

// oldPods lists pods that are shown the cluster's authorities and have a container that began before a certain time.
func (r *rotation) oldPods(ctx context.Context, before time.Time, args ...string) ([]string, error) {
	var all pods
	if err := r.read(ctx, &all, append([]string{"get", "pods", "--all-namespaces"}, args...)...); err != nil {
		return nil, err
	}
	var old []string
	for _, p := range all.Items {
		knows := false
		for _, v := range p.Spec.Volumes {
			for _, s := range v.Projected.Sources {
				knows = knows || s.ConfigMap.Name == rootCAs
			}
		}
		for _, c := range p.Status.Containers {
			if began := c.State.Running.StartedAt; knows && !began.IsZero() && began.Before(before) && p.Metadata.DeletionTimestamp == "" {
				old = append(old, p.Metadata.String())
				break
			}
		}
	}
	return old, nil
}

// dnsTimeout is how long CoreDNS may take to be replaced. Its old pod serves meanwhile.
const dnsTimeout = time.Minute

// restartDNS replaces CoreDNS if it began before a certain time. That it cannot be replaced, such as on a full node, is a warning.
func (r *rotation) restartDNS(ctx context.Context, before time.Time) error {
	old, err := r.oldPods(ctx, before, "--selector=k8s-app=kube-dns")
	if err != nil || len(old) == 0 {
		return err
	}
	return r.steps.do(cluster.StepRestartDNS, func() (string, error) {
		for _, args := range [][]string{{"restart"}, {"status", "--timeout=" + dnsTimeout.String()}} {
			log, err := r.kubectl(ctx, cluster.StepRestartDNS, append([]string{"rollout", args[0], "deployment/coredns", "--namespace=kube-system"}, args[1:]...)...)
			if ctx.Err() != nil {
				return "", context.Cause(ctx)
			}
			if err != nil {
				text := fmt.Sprintf("%s may know the old authority alone: %v %s; restart the pod before %s", some(old), err, strings.Join(log, " "),
					cluster.RetireAuthorities.Command(r.layout.Name))
				r.steps.say(cluster.StepRestartDNS, cluster.StepWarning, text)
				return "", nil
			}
		}
		return "done", nil
	})
}
