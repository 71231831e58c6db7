package observe

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Level is how urgent something is.
type Level int

// Levels, in order of urgency.
const (
	Idle Level = iota // completed, or scaled to zero
	Good
	Busy // in progress
	Warn
	Bad
)

func (l Level) String() string { return [...]string{"idle", "good", "busy", "warn", "bad"}[l] }

// PodState is what a pod is doing.
type PodState struct {
	Text       string // as kubectl shows it: Running, CrashLoopBackOff, Init:0/1, …
	Level      Level
	Why        string // what is wrong; empty if nothing is
	Ready      int    // containers
	Containers int
	Restarts   int
	LastFailed time.Time // when a container last ended; zero if never
}

// PodStateOf returns the state of a pod.
func PodStateOf(p *corev1.Pod, now time.Time) PodState {
	s := PodState{Text: string(p.Status.Phase), Containers: len(p.Spec.Containers)}
	for i := range p.Status.ContainerStatuses {
		c := &p.Status.ContainerStatuses[i]
		s.Restarts += int(c.RestartCount)
		if c.Ready {
			s.Ready++
		}
		if t := c.LastTerminationState.Terminated; t != nil && t.FinishedAt.After(s.LastFailed) {
			s.LastFailed = t.FinishedAt.Time
		}
	}
	if p.Status.Reason != "" {
		s.Text = p.Status.Reason
	}
	switch {
	case p.DeletionTimestamp != nil:
		s.Text, s.Level = "Terminating", Busy
		if len(p.Finalizers) > 0 && s.Ready == 0 {
			s.Why = "waits for its " + named(p.Finalizers)
		}
		if over := now.Sub(p.DeletionTimestamp.Time); over > 10*time.Second {
			s.Level = Warn
			s.Why = fmt.Sprintf("should have ended %s ago", span(over))
			if len(p.Finalizers) > 0 {
				s.Why += ": waits for its " + named(p.Finalizers)
			}
		}
	case p.Status.Phase == corev1.PodSucceeded:
		s.Text, s.Level = "Completed", Idle
	case p.Status.Phase == corev1.PodFailed:
		s.Level = Bad
		s.Why = p.Status.Message
		s.containers(p.Status.ContainerStatuses)
	case p.Status.Phase == corev1.PodPending && p.Spec.NodeName == "":
		s.Level = Busy
		s.unscheduled(p)
	default:
		s.starting(p, now)
	}
	return s
}

// named lists the finalizers that an object waits for before it is gone.
func named(finalizers []string) string {
	noun := "finalizer "
	if len(finalizers) > 1 {
		noun = "finalizers "
	}
	return noun + strings.Join(finalizers, ", ")
}

func (s *PodState) unscheduled(p *corev1.Pod) {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			s.Text = c.Reason
			if c.Reason == corev1.PodReasonUnschedulable {
				s.Level, s.Why = Bad, "no node fits: "+firstSentence(c.Message)
			} else {
				s.Level, s.Why = Warn, firstSentence(c.Message)
			}
		}
	}
}

// starting sets the state of a pod that is bound to a node and has not ended.
func (s *PodState) starting(p *corev1.Pod, now time.Time) {
	if s.initialising(p) {
		return
	}
	s.containers(p.Status.ContainerStatuses)
	if s.Level != Idle {
		return
	}
	if s.Ready == s.Containers && s.Containers > 0 {
		s.Level = Good
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue {
				s.Level, s.Why = Busy, "waits for a readiness gate"
			}
		}
		return
	}
	s.Level = Busy
	for _, c := range p.Status.Conditions {
		if c.Type != corev1.PodReady || c.Status == corev1.ConditionTrue || p.Status.Phase != corev1.PodRunning {
			continue
		}
		if wait := now.Sub(c.LastTransitionTime.Time); wait > 30*time.Second && hasProbe(p) {
			s.Level, s.Why = Warn, fmt.Sprintf("container %s runs but is not ready for %s", notReady(p), span(wait))
		}
	}
	if p.Status.Phase == corev1.PodPending && s.Text == string(corev1.PodPending) {
		s.Text = "Starting"
	}
}

// initialising sets the state of a pod by its init containers. It reports whether they have yet to finish.
func (s *PodState) initialising(p *corev1.Pod) bool {
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0, c.Started != nil && *c.Started:
			continue
		case c.State.Terminated != nil, c.State.Waiting != nil && c.State.Waiting.Reason != "PodInitializing":
			s.containers(p.Status.InitContainerStatuses[i : i+1])
			s.Text = "Init:" + s.Text
		default:
			s.Text, s.Level = fmt.Sprintf("Init:%d/%d", i, len(p.Status.InitContainerStatuses)), Busy
		}
		return true
	}
	return false
}

// containers sets the state to the worst of the containers' states.
func (s *PodState) containers(list []corev1.ContainerStatus) {
	for i := range list {
		c := &list[i]
		level, text, why := containerState(c)
		if level > s.Level {
			s.Level, s.Text, s.Why = level, text, why
		}
	}
}

func containerState(c *corev1.ContainerStatus) (Level, string, string) {
	if w := c.State.Waiting; w != nil {
		switch w.Reason {
		case "", "ContainerCreating", "PodInitializing":
			return Idle, "", ""
		case "CrashLoopBackOff":
			return Bad, w.Reason, fmt.Sprintf("container %s keeps ending%s, %d restarts", c.Name, exitOf(c.LastTerminationState.Terminated), c.RestartCount)
		case "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull":
			return Bad, w.Reason, "cannot pull image " + c.Image + pullReason(w.Message)
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return Bad, w.Reason, fmt.Sprintf("container %s cannot start: %s", c.Name, firstSentence(w.Message))
		}
		return Warn, w.Reason, fmt.Sprintf("container %s waits: %s", c.Name, firstSentence(w.Message))
	}
	if t := c.State.Terminated; t != nil && (t.ExitCode != 0 || t.Signal != 0) {
		text := t.Reason
		if text == "" {
			text = fmt.Sprintf("ExitCode:%d", t.ExitCode)
		}
		return Bad, text, fmt.Sprintf("container %s ended%s", c.Name, exitOf(t))
	}
	return Idle, "", ""
}

func exitOf(t *corev1.ContainerStateTerminated) string {
	switch {
	case t == nil:
		return ""
	case t.Reason == "OOMKilled":
		return " (out of memory)"
	case t.Signal != 0:
		return fmt.Sprintf(" (signal %d)", t.Signal)
	case t.ExitCode > 128 && t.ExitCode < 160:
		return fmt.Sprintf(" (exit %d: signal %d)", t.ExitCode, t.ExitCode-128)
	default:
		return fmt.Sprintf(" (exit %d)", t.ExitCode)
	}
}

// pullReason returns the cause of a pull error, which comes at the end of a long chain of wrapped errors.
func pullReason(msg string) string {
	for _, known := range []struct{ part, words string }{
		{"not found", ": not found"}, {"no such host", ": registry's host name is unknown"},
		{"unauthorized", ": not authorized"}, {"denied", ": access denied"},
		{"connection refused", ": registry refuses connections"}, {"i/o timeout", ": registry does not answer"},
		{"server misbehaving", ": registry's host name cannot be resolved"}, {"certificate", ": registry's certificate is not trusted"},
		{"toomanyrequests", ": registry's rate limit"},
	} {
		if strings.Contains(strings.ToLower(msg), known.part) {
			return known.words
		}
	}
	return ""
}

func hasProbe(p *corev1.Pod) bool {
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].ReadinessProbe != nil {
			return true
		}
	}
	return false
}

func notReady(p *corev1.Pod) string {
	for i := range p.Status.ContainerStatuses {
		if !p.Status.ContainerStatuses[i].Ready {
			return p.Status.ContainerStatuses[i].Name
		}
	}
	return "?"
}

// firstSentence returns the first sentence of a message, without its full stop.
func firstSentence(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if i := strings.Index(s, ". "); i > 0 {
		s = s[:i]
	}
	return strings.TrimSuffix(s, ".")
}

// span formats a duration with one or two units: 45s, 3m, 2h10m, 5d.
func span(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 10*time.Hour:
		if m := int(d.Minutes()) % 60; m > 0 {
			return fmt.Sprintf("%dh%dm", int(d.Hours()), m)
		}
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d < 2*365*24*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	default:
		return fmt.Sprintf("%dy", int(d.Hours()/24/365))
	}
}

// Span formats a duration as ages are shown, with one or two units: 45s, 3m, 2h10m, 5d.
func Span(d time.Duration) string { return span(d) }
