package ui

import (
	"context"
	"fmt"
	"strconv"

	tea "github.com/charmbracelet/bubbletea"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

func podResource() observe.Resource {
	return observe.Resource{GVR: schema.GroupVersionResource{Version: "v1", Resource: "pods"}, Kind: "Pod", Namespaced: true}
}

// podKeys are the keys that podAction handles.
func podKeys(k *keyMap) []kit.Binding {
	return []kit.Binding{k.logs, k.describe, k.yaml, k.shell, k.events, k.forward, k.remove}
}

// podAction does with a pod what a key stands for.
func podAction(sh shell, key tea.KeyMsg, p *corev1.Pod) tea.Cmd {
	k := sh.keys()
	if sh.session() == nil {
		return nil
	}
	switch {
	case k.logs.Match(key):
		return openLogs(sh, p.Name, []*corev1.Pod{p})
	case k.shell.Match(key):
		return chooseShell(sh, p)
	case k.forward.Match(key):
		return askForward(sh, p)
	case k.remove.Match(key):
		return confirmDelete(sh, podResource(), p.Namespace, p.Name, ownerNote(p))
	}
	return inspectKey(sh, key, object{podResource(), p.Namespace, p.Name})
}

// ownerNote says what happens once a pod has been deleted.
func ownerNote(p *corev1.Pod) string {
	for _, o := range p.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			return o.Kind + " " + o.Name + " creates another one."
		}
	}
	return "Nothing creates it again."
}

// confirmDelete asks, and then deletes an object. The note says what else that does.
func confirmDelete(sh shell, res observe.Resource, namespace, name, note string) tea.Cmd {
	s := sh.session()
	where := ""
	if namespace != "" {
		where = " in namespace " + namespace
	}
	return sh.ask(&kit.Confirm{Title: "Delete " + name, Verb: "delete", Grave: true, Lines: []string{res.Kind + " " + name + where + ".", note},
		Then: s.run(func(ctx context.Context) tea.Msg {
			pending, err := s.act.Delete(ctx, res, namespace, name)
			switch {
			case err != nil:
				return toastMsg{refusal(err), observe.Bad}
			case pending != "":
				return toastMsg{pending + " (" + name + ")", observe.Busy} // a narrow window cuts the name
			}
			return toastMsg{"deleted " + name, observe.Good}
		})})
}

// chooseShell opens a shell in a container of a pod and asks which one if there are several.
func chooseShell(sh shell, p *corev1.Pod) tea.Cmd {
	if len(p.Spec.Containers) == 1 {
		return openShell(sh, p, p.Spec.Containers[0].Name)
	}
	var list []kit.Choice
	for _, c := range p.Spec.Containers {
		list = append(list, kit.Choice{Name: c.Name, Note: c.Image, Then: openShell(sh, p, c.Name)})
	}
	return sh.ask(kit.NewPicker("Container of "+p.Name, "", list))
}

// containerPorts lists the TCP ports that the containers of a pod declare.
func containerPorts(p *corev1.Pod) []kit.Choice {
	var list []kit.Choice
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.Protocol == corev1.ProtocolTCP || port.Protocol == "" {
				list = append(list, kit.Choice{Name: strconv.Itoa(int(port.ContainerPort)), Note: c.Name + " " + port.Name})
			}
		}
	}
	return list
}

// askForward asks for a port of a pod and forwards a local port to it: any free one, or 8080 for "8080:80".
func askForward(sh shell, p *corev1.Pod) tea.Cmd {
	value := ""
	if ports := containerPorts(p); len(ports) > 0 {
		value = ports[0].Name
	}
	return sh.ask(kit.NewPrompt("Forward to "+p.Name, "PORT, or LOCAL:PORT", value, func(v string) error {
		_, _, err := parsePorts(v)
		return err
	}, func(v string) tea.Cmd {
		local, port, err := parsePorts(v)
		if err != nil {
			return nil
		}
		return startForward(sh, p.Namespace, p.Name, local, port)
	}))
}

// parsePorts reads "80" or "8080:80"; a local port of 0 means any free one.
func parsePorts(v string) (local, port int, err error) {
	if n, err := fmt.Sscanf(v, "%d:%d", &local, &port); err == nil && n == 2 {
		return local, port, checkPort(port)
	}
	if port, err = strconv.Atoi(v); err != nil {
		return 0, 0, fmt.Errorf("enter PORT or LOCAL:PORT")
	}
	return 0, port, checkPort(port)
}

func checkPort(n int) error {
	if n < 1 || n > 65535 {
		return fmt.Errorf("enter a port from 1 to 65535")
	}
	return nil
}
