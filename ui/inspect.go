package ui

import (
	"context"
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster/observe"
)

// object names an object of the cluster.
type object struct {
	resource        observe.Resource
	namespace, name string
}

// aspect is what to show of an object.
type aspect int

const (
	describe aspect = iota
	yaml
	events
)

// aspectOf returns the aspect that a key stands for.
func aspectOf(k *keyMap, key tea.KeyMsg) (a aspect, ok bool) {
	switch {
	case k.open.Match(key), k.describe.Match(key):
		return describe, true
	case k.yaml.Match(key):
		return yaml, true
	case k.events.Match(key):
		return events, true
	}
	return 0, false
}

// inspectKey shows the aspect of an object that a key stands for. It returns nil if the key stands for none.
func inspectKey(sh shell, key tea.KeyMsg, o object) tea.Cmd {
	a, ok := aspectOf(sh.keys(), key)
	if !ok {
		return nil
	}
	return inspect(sh, a, o)
}

// inspect shows an aspect of an object as text.
func inspect(sh shell, a aspect, o object) tea.Cmd {
	act := sh.session().act
	switch a {
	case yaml:
		return openText(sh, o.name+" · YAML", true, func(ctx context.Context) (string, error) { return act.YAML(ctx, o.resource, o.namespace, o.name) })
	case events:
		return openText(sh, o.name+" · events", false, func(ctx context.Context) (string, error) { return eventText(ctx, act, o) })
	default:
		return openText(sh, o.name, false, func(ctx context.Context) (string, error) { return act.Describe(ctx, o.resource, o.namespace, o.name) })
	}
}

// eventText lists the events of an object, one per line.
func eventText(ctx context.Context, act *observe.Actions, o object) (string, error) {
	list, err := act.Events(ctx, o.namespace, o.resource.Kind, o.name)
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "no events in the last hour", nil
	}
	var b strings.Builder
	for i := range list {
		e := &list[i]
		fmt.Fprintf(&b, "%s  %-8s %-24s %s %s\n", observe.EventTime(e).Format("15:04:05"), e.Type, e.Reason, e.Message, times(e))
	}
	return b.String(), nil
}
