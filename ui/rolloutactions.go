package ui

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

func resourceOf(kind string) observe.Resource {
	plural := strings.ToLower(kind) + "s"
	return observe.Resource{GVR: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: plural}, Kind: kind, Namespaced: true}
}

// podsOfRollout returns the pods of all revisions of a rollout.
func podsOfRollout(s *observe.Snapshot, r *observe.Rollout) []*corev1.Pod {
	var out []*corev1.Pod
	for _, rev := range observe.Revisions(s, r) {
		out = append(out, rev.Pods...)
	}
	return out
}

// previousRevision returns the newest revision that is not the current one, or nil.
func previousRevision(list []observe.Revision) *observe.Revision {
	for i := range list {
		if !list[i].Current {
			return &list[i]
		}
	}
	return nil
}

func confirmRestart(sh shell, ref observe.Ref) tea.Cmd {
	s := sh.session()
	return sh.ask(&kit.Confirm{Title: "Restart " + ref.Name, Verb: "restart", Lines: []string{
		"All pods of " + ref.String() + " are replaced, following its strategy."},
		Then: s.do("restarted "+ref.Name, func(ctx context.Context) error { return s.act.Restart(ctx, ref, sh.now(), nil) })})
}

func confirmPause(sh shell, r *observe.Rollout, ref observe.Ref) tea.Cmd {
	if r.Kind != observe.KindDeployment {
		return toast(observe.Warn, "only a Deployment can be paused; a StatefulSet has a partition (C)")
	}
	s, verb, what := sh.session(), "pause", "Changes to its template do not roll out until it is resumed."
	if r.Paused {
		verb, what = "resume", "Changes that were made to its template in the meantime roll out now."
	}
	paused := !r.Paused
	return sh.ask(&kit.Confirm{Title: strings.ToUpper(verb[:1]) + verb[1:] + " " + ref.Name, Verb: verb, Lines: []string{what},
		Then: s.do(verb+"d "+ref.Name, func(ctx context.Context) error { return s.act.Pause(ctx, ref, paused) })})
}

func confirmUndo(sh shell, r *observe.Rollout, ref observe.Ref, to *observe.Revision) tea.Cmd {
	switch {
	case to == nil:
		return toast(observe.Warn, "%s has no earlier revision", ref.Name)
	case to.Current:
		return toast(observe.Warn, "revision %d is the current one", to.Number)
	case r.Paused:
		return toast(observe.Warn, "%s is paused: resume it first (P)", ref.Name)
	}
	s, rev := sh.session(), *to
	lines := []string{fmt.Sprintf("The pod template goes back to that of revision %d:", rev.Number)}
	changes := 0
	for _, d := range observe.Diff(observe.TemplateYAML(r.Template), observe.TemplateYAML(rev.Template)) {
		if d.Op == ' ' {
			continue
		}
		if changes++; changes > 6 {
			lines = append(lines, "  …")
			break
		}
		lines = append(lines, "  "+orNothing(d.Left)+" → "+orNothing(d.Right))
	}
	return sh.ask(&kit.Confirm{Title: fmt.Sprintf("Undo %s to revision %d", ref.Name, rev.Number), Verb: "undo", Lines: lines,
		Then: s.do(fmt.Sprintf("undid %s to revision %d", ref.Name, rev.Number), func(ctx context.Context) error { return s.act.Undo(ctx, ref, rev) })})
}

// orNothing is a line of a template without its indentation, or "(nothing)" if it is empty.
func orNothing(line string) string {
	if line = strings.TrimLeft(line, " -"); line == "" {
		return "(nothing)"
	}
	return line
}

func askScale(sh shell, r *observe.Rollout, ref observe.Ref) tea.Cmd {
	if r.Kind == observe.KindDaemonSet {
		return toast(observe.Warn, "a DaemonSet runs one pod per node and cannot be scaled")
	}
	s := sh.session()
	return sh.ask(kit.NewPrompt("Scale "+ref.Name, fmt.Sprintf("replicas, now %d", r.Desired), strconv.Itoa(int(r.Desired)), kit.Number(0, 10000),
		func(v string) tea.Cmd {
			n, err := strconv.Atoi(v)
			if err != nil {
				return nil
			}
			return s.do("scaled "+ref.Name+" to "+v, func(ctx context.Context) error { return s.act.Scale(ctx, ref, int32(n)) })
		}))
}

func askPartition(sh shell, r *observe.Rollout, ref observe.Ref) tea.Cmd {
	if r.Kind != observe.KindStatefulSet {
		return toast(observe.Warn, "only a StatefulSet has a partition; a Deployment can be paused (P)")
	}
	s, n := sh.session(), int(r.Desired)
	return sh.ask(&kit.Slider{Title: "Canary of " + ref.Name, Value: int(r.Partition), Max: n,
		Meaning: func(p int) string {
			switch {
			case p == 0:
				return "every pod gets the new revision"
			case p >= n:
				return "no pod gets the new revision"
			case p == n-1:
				return fmt.Sprintf("pod %d is the canary; 0–%d stay on the old revision", p, p-1)
			}
			return fmt.Sprintf("pods %d–%d get the new revision; 0–%d stay", p, n-1, p-1)
		},
		Then: func(p int) tea.Cmd {
			return s.do(fmt.Sprintf("partition of %s is %d", ref.Name, p), func(ctx context.Context) error { return s.act.Partition(ctx, ref, int32(p)) })
		}})
}

func askImage(sh shell, r *observe.Rollout, ref observe.Ref) tea.Cmd {
	if r.Template == nil || len(r.Template.Spec.Containers) == 0 {
		return nil
	}
	ask := func(c corev1.Container) kit.Dialog {
		s := sh.session()
		return kit.NewPrompt("Image of "+ref.Name+" · "+c.Name, "a new image starts a rollout", c.Image, func(v string) error {
			if v == "" || strings.ContainsAny(v, " \t") {
				return errors.New("enter an image name such as registry/name:tag")
			}
			return nil
		}, func(v string) tea.Cmd {
			return s.do("image of "+ref.Name+" is "+v, func(ctx context.Context) error { return s.act.SetImage(ctx, ref, c.Name, v) })
		})
	}
	containers := r.Template.Spec.Containers
	if len(containers) == 1 {
		return sh.ask(ask(containers[0]))
	}
	var list []kit.Choice
	for _, c := range containers {
		list = append(list, kit.Choice{Name: c.Name, Note: c.Image, Then: openDialog(ask(c))})
	}
	return sh.ask(kit.NewPicker("Container of "+ref.Name, "", list))
}
