package encryption_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/encryption"
)

// keys of every kind; those of a rotation are the oldest first.
func testKeys() map[string]encryption.Key {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	k := map[string]encryption.Key{"plain": encryption.Plain()}
	var made []encryption.Key
	for _, n := range []struct {
		name     string
		provider cluster.EncryptionProvider
	}{{"box1", cluster.EncryptionSecretbox}, {"box2", cluster.EncryptionSecretbox}, {"cbc", cluster.EncryptionAESCBC}, {"gcm", cluster.EncryptionAESGCM}} {
		k[n.name] = encryption.NewKey(n.provider, now, made)
		made = append(made, k[n.name])
	}
	for _, name := range []string{"kms1", "kms2"} {
		k[name] = encryption.PluginKey(cluster.KMS{Name: name, Endpoint: "unix:///" + name, Timeout: "3s"})
	}
	return k
}

// store is what the objects of some resources are stored under.
type store map[string]map[string]bool // resource → keys

// readable reports why an API server with a configuration cannot read every object.
func (s store) readable(c encryption.Config) error {
	for r, under := range s {
		for k := range under {
			if !slices.ContainsFunc(list(c, r), func(o encryption.Key) bool { return o.String() == k }) {
				return fmt.Errorf("%s is stored under %s, which is not among %v", r, k, list(c, r))
			}
		}
	}
	return nil
}

func list(c encryption.Config, r string) []encryption.Key {
	if keys := c[r]; len(keys) > 0 {
		return keys
	}
	return []encryption.Key{encryption.Plain()}
}

func (s store) write(c encryption.Config, resources []string) {
	for _, r := range resources {
		if s[r] == nil {
			s[r] = map[string]bool{}
		}
		s[r][c.Writes(r).String()] = true
	}
}

func describe(c encryption.Config) string {
	var b strings.Builder
	for _, r := range c.Resources() {
		fmt.Fprintf(&b, "%s: %v; ", r, c[r])
	}
	return b.String()
}

// TestEveryStep goes from each settled configuration to each goal. At each step there is an object under every key that any API server
// may have written with, half of the servers have loaded the step's configuration and half have not.
func TestEveryStep(t *testing.T) {
	all := []string{"configmaps", "secrets", "widgets.example.com"}
	sets := [][]string{{"secrets"}, {"configmaps", "secrets"}, {"configmaps"}, all}
	keys := testKeys()
	changes := 0
	for _, from := range slices.Sorted(maps.Keys(keys)) {
		for _, fromSet := range sets {
			for _, to := range slices.Sorted(maps.Keys(keys)) {
				for _, toSet := range sets {
					c := encryption.Config{}
					for _, r := range fromSet {
						c[r] = []encryption.Key{keys[from]}
					}
					goal := encryption.Goal{Resources: toSet, Key: keys[to]}
					name := fmt.Sprintf("from %s %v to %s %v", from, fromSet, to, toSet)
					if err := follow(c, goal, all); errors.Is(err, encryption.ErrPlugin) {
						if !strings.HasPrefix(from, "kms") || !strings.HasPrefix(to, "kms") || slices.Equal(fromSet, toSet) {
							t.Errorf("%s: %v", name, err)
						}
					} else if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					changes++
				}
			}
		}
	}
	if changes != 7*7*4*4 {
		t.Errorf("%d changes", changes)
	}
}

// follow takes every step and, since each starts from the configuration alone, thereby every way to go on after an interruption.
func follow(c encryption.Config, goal encryption.Goal, all []string) error {
	s := store{}
	s.write(c, all)
	for range 20 {
		step, err := encryption.Next(c, goal)
		if err != nil {
			return err
		}
		if step.Kind == encryption.StepDone {
			return arrived(c, goal, all, s)
		}
		if step.Kind == encryption.StepDrop {
			for r, k := range step.Rewrite {
				s[r] = map[string]bool{k.String(): true}
			}
		}
		if !encryption.Loadable(step.Config) {
			return fmt.Errorf("step %s: the API server does not load [%s]", step.Kind, describe(step.Config))
		}
		s.write(c, all)
		s.write(step.Config, all)
		for _, loaded := range []encryption.Config{c, step.Config} {
			if err := s.readable(loaded); err != nil {
				return fmt.Errorf("step %s from [%s] to [%s]: %w", step.Kind, describe(c), describe(step.Config), err)
			}
		}
		c = step.Config
	}
	return fmt.Errorf("no end: [%s]", describe(c))
}

func arrived(c encryption.Config, goal encryption.Goal, all []string, s store) error {
	if !c.Settled() {
		return fmt.Errorf("done, but not settled: [%s]", describe(c))
	}
	for _, r := range all {
		want := encryption.Plain()
		if slices.Contains(goal.Resources, r) {
			want = goal.Key
		}
		if got := c.Writes(r); !got.Same(want) {
			return fmt.Errorf("%s is written with %s, not %s", r, got, want)
		}
		if len(s[r]) != 1 || !s[r][want.String()] {
			return fmt.Errorf("%s is stored under %v, not %s alone", r, slices.Collect(maps.Keys(s[r])), want)
		}
	}
	return nil
}

// TestAnotherGoal changes the goal after each step of a change: what had been begun must not keep the new goal from being reached.
func TestAnotherGoal(t *testing.T) {
	keys := testKeys()
	secrets := []string{"secrets"}
	for from, k := range keys {
		for via := range keys {
			for to := range keys {
				c := encryption.Config{"secrets": {k}}
				for steps := 0; ; steps++ {
					if err := follow(c, encryption.Goal{Resources: secrets, Key: keys[to]}, secrets); err != nil {
						t.Errorf("from %s, after %d steps to %s, to %s: %v", from, steps, via, to, err)
					}
					step, err := encryption.Next(c, encryption.Goal{Resources: secrets, Key: keys[via]})
					if err != nil {
						t.Fatal(err)
					}
					if step.Kind == encryption.StepDone {
						break
					}
					c = step.Config
				}
			}
		}
	}
}

// TestNewPlace is a plugin that moved to another socket: objects stay as they are.
func TestNewPlace(t *testing.T) {
	old := encryption.PluginKey(cluster.KMS{Name: "p", Endpoint: "unix:///old", Timeout: "3s"})
	moved := encryption.PluginKey(cluster.KMS{Name: "p", Endpoint: "unix:///new", Timeout: "3s"})
	goal := encryption.Goal{Resources: []string{"secrets"}, Key: moved}
	step, err := encryption.Next(encryption.Config{"secrets": {old}}, goal)
	if err != nil || step.Kind != encryption.StepAdd || len(step.Config["secrets"]) != 1 || step.Config["secrets"][0].Endpoint != "unix:///new" {
		t.Fatalf("%+v, %v", step, err)
	}
	if step, err = encryption.Next(step.Config, goal); err != nil || step.Kind != encryption.StepDone {
		t.Errorf("%+v, %v", step, err)
	}
}
