package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster"
)

const (
	// dnsPatience is how long DNS may take to answer, after a node is ready, before anybody asks why.
	dnsPatience = 5 * time.Second
	// dnsReasonInterval is how often the reason is looked up until DNS answers.
	dnsReasonInterval = 2 * time.Second
	coreDNS           = "coredns" // its Deployment in kube-system
)

// explainDNS reports why the cluster's DNS does not answer, until it does. What a user put into the API decides about that:
// the Corefile, the number of replicas, quotas, taints, what else runs on the nodes.
func (o *observer) explainDNS(ctx context.Context) {
	hasNode := func(s cluster.Status) bool {
		for _, n := range s.Nodes {
			if n.Ready {
				return true
			}
		}
		return false
	}
	if _, err := o.status.Wait(ctx, hasNode); err != nil {
		return
	}
	pause, last := dnsPatience, ""
	for {
		// A reason that was reported is taken back as soon as DNS answers.
		patience, cancel := context.WithTimeout(ctx, pause)
		_, _ = o.status.Wait(patience, func(s cluster.Status) bool { return s.Ready.DNS })
		cancel()
		if ctx.Err() != nil {
			return
		}
		pause = dnsReasonInterval
		reason := ""
		if !o.status.Load().Ready.DNS {
			reason = o.dnsReason(ctx)
		}
		if reason != last && o.report != nil && ctx.Err() == nil {
			o.report(dnsError(reason))
			last = reason
		}
		if o.status.Load().Ready.DNS && last == "" {
			return
		}
	}
}

func dnsError(reason string) error {
	if reason == "" {
		return nil
	}
	return errors.New("cluster DNS does not answer: " + reason)
}

// dnsReason returns why no pod of CoreDNS serves, empty if nothing tells.
func (o *observer) dnsReason(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, dnsReasonInterval)
	defer cancel()
	d, err := o.client.AppsV1().Deployments(metav1.NamespaceSystem).Get(ctx, coreDNS, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "Deployment kube-system/" + coreDNS + " does not exist"
	}
	if err != nil {
		return ""
	}
	pods, err := o.client.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
	if err != nil {
		return ""
	}
	return explainCoreDNS(d, pods.Items)
}

// explainCoreDNS names what keeps a Deployment from having a pod that serves, empty if it is only a matter of time.
func explainCoreDNS(d *appsv1.Deployment, pods []corev1.Pod) string {
	if d.Spec.Replicas != nil && *d.Spec.Replicas == 0 {
		return fmt.Sprintf("Deployment kube-system/%s is scaled to 0", d.Name)
	}
	for i := range pods {
		if reason := explainPod(&pods[i]); reason != "" {
			return fmt.Sprintf("pod %s: %s", pods[i].Name, reason)
		}
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return fmt.Sprintf("Deployment kube-system/%s: %s: %s", d.Name, c.Reason, c.Message)
		}
	}
	return ""
}

// explainPod returns why a pod does not serve, empty if nothing is known to be wrong.
func explainPod(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason + ": " + c.Message
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		said := ""
		for _, t := range []*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
			if t != nil && said == "" {
				said = lastLine(t.Message)
			}
		}
		switch w := c.State.Waiting; {
		case c.Ready:
		case w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing":
			return w.Reason + ": " + cmp.Or(said, w.Message)
		case said != "":
			return "exits: " + said
		}
	}
	return ""
}

// lastLine is the last line of a program's output, where it says why it ended.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
