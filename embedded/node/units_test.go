package node

import (
	"context"
	"testing"

	"github.com/klkube/kl/cluster"
)

// counted is a component that counts its runs.
type counted struct{ runs int }

func (c *counted) Name() cluster.ComponentName { return "counted" }

func (c *counted) Run(context.Context, func()) error {
	c.runs++
	return nil
}

// TestReusable: every restart gets a new component, all of which run the same object.
func TestReusable(t *testing.T) {
	c := &counted{}
	u := reusable(c, "network")
	again := u.Again()
	if again == u.Component || again == u.Again() {
		t.Error("Again returned the same component twice")
	}
	for _, component := range []interface {
		Name() cluster.ComponentName
		Run(context.Context, func()) error
	}{u.Component, again} {
		if component.Name() != "counted" {
			t.Errorf("name is %q", component.Name())
		}
		if err := component.Run(t.Context(), func() {}); err != nil {
			t.Error(err)
		}
	}
	if c.runs != 2 || len(u.Needs) != 1 || u.Needs[0] != "network" {
		t.Errorf("ran %d times, needs %v", c.runs, u.Needs)
	}
}
