package ui

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/google/go-cmp/cmp"
	"github.com/muesli/termenv"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// viewCases are the keys that open every screen and dialog that needs no server.
func viewCases() map[string][]string {
	return map[string][]string{
		"overview": {"1", "down"}, "rollouts": {"2", "G"}, "one rollout": {"2", "down", "enter", "right", "down"}, "revisions": {"2", "enter", "v", "down"},
		"matrix": {"3", "down", "right"}, "matrix of namespaces": {"3", "m"}, "policies": {"3", "m", "m"}, "denials": {"3", "m", "m", "m"},
		"metrics": {"4", "down"}, "autoscalers": {"4", "m", "m"}, "control plane": {"4", "m", "m", "m"},
		"workloads": {"5", "G", " ", "o"}, "nodes": {"6", "down"}, "node": {"6", "enter", "G"}, "audit": {"7", "G"},
		"filter": {"5", "/", "s", "h", "o", "p"}, "help": {"?", "down"}, "palette": {":", "n"}, "namespace": {"n", "down"},
		"confirm": {"2", "R"}, "prompt": {"2", "S", "9"}, "port": {"3", "p"}, "pair": {"3", "x"}, "forwards": {"5", "F"},
	}
}

// View changes nothing in the whole model.
func TestViewChangesNothing(t *testing.T) {
	for name, keys := range viewCases() {
		for _, stateName := range []string{"normal", "loading", "stale", "wide"} {
			t.Run(name+"/"+stateName, func(t *testing.T) {
				snap := states()[stateName]()
				for _, a := range []kit.Area{{W: 40, H: 12}, {W: 120, H: 40}} {
					m := viewModel(t, snap, a, keys)
					before := dump(m)
					first := m.View()
					if second := m.View(); first != second {
						t.Errorf("%s: the second frame differs:\n%s", a, cmp.Diff(first, second))
					}
					if after := dump(m); before != after {
						t.Errorf("%s: View changed the model:\n%s", a, cmp.Diff(strings.Split(before, "\n"), strings.Split(after, "\n")))
					}
				}
			})
		}
	}
}

// A window that is made smaller and then as large as before shows the same frame again.
func TestFrameDependsOnTheStateOnly(t *testing.T) {
	large, small := kit.Area{W: 120, H: 40}, kit.Area{W: 60, H: 14}
	for _, screen := range Screens() {
		t.Run(screen, func(t *testing.T) {
			m := testModel(t, screen, states()["normal"](), large, testStyles(termenv.Ascii, true))
			first := frame(m)
			m.size = small
			if got := frame(m); got == first {
				t.Error("the size makes no difference")
			}
			m.size = large
			if diff := cmp.Diff(first, frame(m)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// viewModel is a model after some keys, with a session so that keys act on objects.
func viewModel(t *testing.T, snap *observe.Snapshot, a kit.Area, keys []string) *Model {
	t.Helper()
	m := testModel(t, "", snap, a, testStyles(termenv.TrueColor, true))
	m.conn = &session{run: func(func(context.Context) tea.Msg) tea.Cmd { return nil }}
	m.refresh()
	for _, k := range keys {
		press(m, k)
		m.resize()
	}
	return m
}

// dump writes all fields that can be reached from the model, one per line. It leaves out what never changes: snapshots,
// styles and keys.
func dump(m *Model) string {
	var b strings.Builder
	dumpValue(&b, "m", reflect.ValueOf(m), map[uintptr]bool{})
	return b.String()
}

func dumpValue(b *strings.Builder, path string, v reflect.Value, seen map[uintptr]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		foreign := !strings.HasPrefix(v.Type().Elem().PkgPath(), "github.com/klkube/kl/")
		constant := foreign || slices.Contains([]reflect.Type{reflect.TypeFor[*kit.Styles](), reflect.TypeFor[*keyMap](), reflect.TypeFor[*observe.Snapshot]()}, v.Type())
		if v.IsNil() || constant || seen[v.Pointer()] {
			fmt.Fprintf(b, "%s = %#x\n", path, v.Pointer())
			return
		}
		seen[v.Pointer()] = true
		dumpValue(b, path, v.Elem(), seen)
	case reflect.Interface:
		fmt.Fprintf(b, "%s = %v\n", path, v.IsNil())
		if !v.IsNil() {
			dumpValue(b, path+"."+v.Elem().Type().String(), v.Elem(), seen)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			dumpValue(b, path+"."+v.Type().Field(i).Name, v.Field(i), seen)
		}
	case reflect.Slice, reflect.Array:
		fmt.Fprintf(b, "len(%s) = %d\n", path, v.Len())
		for i := range v.Len() {
			dumpValue(b, fmt.Sprintf("%s[%d]", path, i), v.Index(i), seen)
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
		for _, k := range keys {
			dumpValue(b, fmt.Sprintf("%s[%v]", path, k), v.MapIndex(k), seen)
		}
	case reflect.Func, reflect.Chan:
		fmt.Fprintf(b, "%s = %v\n", path, v.IsNil())
	default:
		fmt.Fprintf(b, "%s = %v\n", path, v)
	}
}
