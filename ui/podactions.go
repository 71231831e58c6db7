package ui

import (
	"context"
	"fmt"
	"strconv"

	tea "github.com/charmbracelet/bubbletea"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/klkube/kl/cluster/observe"
)

func podResource() observe.Resource {
	return observe.Resource{GVR: schema.GroupVersionResource{Version: "v1", Resource: "pods"}, Kind: "Pod", Namespaced: true}
}

// podKeys are what can be done to a pod.
func (m *Model) podKeys() []binding {
	k := m.k
	return []binding{k.logs, k.describe, k.yaml, k.shell, k.events, k.forward, k.remove}
}

// podAction answers the keys of podKeys for one pod.
func (m *Model) podAction(key tea.KeyMsg, p *corev1.Pod) tea.Cmd {
	k := m.k
	if m.session == nil {
		return nil
	}
	switch {
	case k.logs.match(key):
		return m.openLogs(p.Name, []*corev1.Pod{p})
	case k.open.match(key):
		return m.inspect(keyPress("d"), podResource(), "Pod", p.Namespace, p.Name)
	case k.describe.match(key), k.yaml.match(key), k.events.match(key):
		return m.inspect(key, podResource(), "Pod", p.Namespace, p.Name)
	case k.shell.match(key):
		return m.chooseShell(p)
	case k.forward.match(key):
		return m.askForward(p)
	case k.remove.match(key):
		return m.confirmDelete(podResource(), p.Namespace, p.Name, ownerNote(p))
	}
	return nil
}

func ownerNote(p *corev1.Pod) string {
	for _, o := range p.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			return o.Kind + " " + o.Name + " will make another."
		}
	}
	return "Nothing will make it again."
}

func (m *Model) confirmDelete(res observe.Resource, namespace, name, note string) tea.Cmd {
	s := m.session
	where := ""
	if namespace != "" {
		where = " in namespace " + namespace
	}
	return m.ask(&confirm{title: "Delete " + name, verb: "delete", grave: true, lines: []string{res.Kind + " " + name + where + ".", note},
		then: s.do("deleted "+name, func(ctx context.Context) error { return s.act.Delete(ctx, res, namespace, name) })})
}

// chooseShell runs a shell in a container, asking which if there are several.
func (m *Model) chooseShell(p *corev1.Pod) tea.Cmd {
	if len(p.Spec.Containers) == 1 {
		return m.shell(p, p.Spec.Containers[0].Name)
	}
	var list []choice
	for _, c := range p.Spec.Containers {
		list = append(list, choice{name: c.Name, note: c.Image, then: m.shell(p, c.Name)})
	}
	return m.ask(newPicker("Container of "+p.Name, "", list))
}

// containerPorts lists what a pod says it listens on.
func containerPorts(p *corev1.Pod) []choice {
	var list []choice
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.Protocol == corev1.ProtocolTCP || port.Protocol == "" {
				list = append(list, choice{name: strconv.Itoa(int(port.ContainerPort)), note: c.Name + " " + port.Name})
			}
		}
	}
	return list
}

// askForward asks for a port of the pod and forwards a free local port to it; "8080:80" chooses the local one.
func (m *Model) askForward(p *corev1.Pod) tea.Cmd {
	value := ""
	if ports := containerPorts(p); len(ports) > 0 {
		value = ports[0].name
	}
	return m.ask(newPrompt("Forward to "+p.Name, "PORT, or LOCAL:PORT", value, func(v string) error {
		_, _, err := parsePorts(v)
		return err
	}, func(v string) tea.Cmd {
		local, port, err := parsePorts(v)
		if err != nil {
			return nil
		}
		return m.startForward(p.Namespace, p.Name, local, port)
	}))
}

func parsePorts(v string) (local, port int, err error) {
	if n, err := fmt.Sscanf(v, "%d:%d", &local, &port); err == nil && n == 2 {
		return local, port, checkPort(port)
	}
	if port, err = strconv.Atoi(v); err != nil {
		return 0, 0, fmt.Errorf("a port, or LOCAL:PORT")
	}
	return 0, port, checkPort(port)
}

func checkPort(n int) error {
	if n < 1 || n > 65535 {
		return fmt.Errorf("a port is between 1 and 65535")
	}
	return nil
}
