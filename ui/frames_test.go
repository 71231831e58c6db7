package ui

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/klkube/kl/ui/kit"
	"github.com/klkube/kl/ui/kit/goldentest"
	"github.com/muesli/termenv"
)

func testSizes() []kit.Area {
	return []kit.Area{{W: 40, H: 12}, {W: 80, H: 24}, {W: 120, H: 40}, {W: 200, H: 60}}
}

// checkFits checks that a frame is exactly as large as its area and that nothing in it moves the cursor.
func checkFits(t *testing.T, frame string, a kit.Area) {
	t.Helper()
	lines := strings.Split(frame, "\n")
	if len(lines) != a.H {
		t.Errorf("%s: %d lines", a, len(lines))
	}
	for i, l := range lines {
		if w := ansi.StringWidth(l); w != a.W {
			t.Errorf("%s: line %d is %d cells wide: %q", a, i, w, ansi.Strip(l))
		}
		if bare := ansi.Strip(l); strings.ContainsAny(bare, "\x1b\x07\t\r\u202e\u200f") {
			t.Errorf("%s: line %d holds control characters: %q", a, i, bare)
		}
	}
}

func TestGoldens(t *testing.T) { goldentest.CheckTests(t) }

func TestFrames(t *testing.T) {
	files := goldentest.New(t)
	for _, screen := range Screens() {
		for name, state := range states() {
			t.Run(screen+"/"+name, func(t *testing.T) {
				var out strings.Builder
				for _, a := range testSizes() {
					m := testModel(t, screen, state(), a, testStyles(termenv.Ascii, true))
					got := frame(m)
					checkFits(t, got, a)
					fmt.Fprintf(&out, "== %s\n%s\n", a, trimRight(got))
				}
				files.Equal(t, out.String())
			})
		}
	}
}

func TestFramesInColour(t *testing.T) {
	files := goldentest.New(t)
	a := kit.Area{W: 80, H: 24}
	for _, screen := range Screens() {
		for _, p := range []struct {
			name    string
			profile termenv.Profile
			dark    bool
		}{{"dark", termenv.TrueColor, true}, {"light", termenv.TrueColor, false}, {"256", termenv.ANSI256, true}, {"16", termenv.ANSI, true}} {
			t.Run(screen+"/"+p.name, func(t *testing.T) {
				got := frame(testModel(t, screen, states()["normal"](), a, testStyles(p.profile, p.dark)))
				plain := frame(testModel(t, screen, states()["normal"](), a, testStyles(termenv.Ascii, true)))
				checkFits(t, got, a)
				if !strings.Contains(got, "\x1b[") {
					t.Error("no colour at all")
				}
				if stripped := ansi.Strip(got); trimRight(stripped) != trimRight(plain) {
					t.Errorf("colour changes the text:\n%s\n---\n%s", stripped, plain)
				}
				files.Equal(t, got)
			})
		}
	}
}

// TestKeysNeverBreakTheFrame presses every key of the help on every screen, with every snapshot. No frame may overflow.
func TestKeysNeverBreakTheFrame(t *testing.T) {
	for name, state := range states() {
		t.Run(name, func(t *testing.T) {
			snap := state()
			for _, a := range []kit.Area{{W: 20, H: 6}, {W: 40, H: 12}, {W: 80, H: 24}, {W: 133, H: 37}} {
				m := testModel(t, "", snap, a, testStyles(termenv.Ascii, true))
				for i := range screenNames() {
					m.show(i)
					var keys []string
					for _, b := range slices.Concat(m.top().keys(), m.keymap.list().Keys, m.keymap.global().Keys) {
						keys = append(keys, b.Keys()...)
					}
					for _, key := range keys {
						if key == "q" || key == "ctrl+c" {
							continue
						}
						press(m, key)
						checkFits(t, frame(m), a)
						press(m, "esc")
						if m.dialog != nil {
							m.dialog = nil
						}
					}
					if t.Failed() {
						t.Fatalf("on %s", screenNames()[i])
					}
				}
			}
		})
	}
}

// press sends a key and runs the commands that follow from it, as long as they need no waiting.
func press(m *Model, key string) {
	cmd := m.key(kit.KeyPress(key))
	for range 5 {
		if cmd == nil {
			return
		}
		msg := cmd()
		switch msg.(type) {
		case pushMsg, dialogMsg, showMsg, namespaceMsg, toastMsg, portMsg, pairMsg:
			cmd = m.handle(msg)
		default:
			return
		}
	}
}

func TestDetailFrames(t *testing.T) {
	files := goldentest.New(t)
	for _, tt := range []struct {
		name, screen string
		keys         []string
	}{
		{"rollout", "rollouts", []string{"down", "enter"}},
		{"pods of a rollout", "rollouts", []string{"down", "enter", "right", "down"}},
		{"compare", "rollouts", []string{"down", "enter", "v"}},
		{"help", "rollouts", []string{"?"}},
		{"palette", "workloads", []string{":"}},
		{"namespaces", "workloads", []string{"n"}},
		{"filter", "workloads", []string{"/", "c", "a", "r", "t"}},
		{"denied pair", "policies", []string{"down", "down", "right"}},
		{"policy list", "policies", []string{"m", "m"}},
		{"denials", "policies", []string{"m", "m", "m"}},
		{"denial in the matrix", "policies", []string{"m", "m", "m", "enter"}},
		{"autoscalers", "metrics", []string{"m", "m"}},
		{"plane", "metrics", []string{"m", "m", "m"}},
		{"node pods", "nodes", []string{"enter"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			for _, a := range testSizes() {
				m := testModel(t, tt.screen, states()["normal"](), a, testStyles(termenv.Ascii, true))
				m.conn = &session{}
				for _, k := range tt.keys {
					press(m, k)
				}
				got := frame(m)
				checkFits(t, got, a)
				fmt.Fprintf(&out, "== %s\n%s\n", a, trimRight(got))
			}
			files.Equal(t, out.String())
		})
	}
}
