package ui

import (
	"fmt"
	"io"
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"

	"github.com/klkube/kl/cluster/tour"
	"github.com/klkube/kl/ui/kit"
	"github.com/klkube/kl/ui/kit/goldentest"
)

func tourScenarios() []*tour.Scenario {
	return []*tour.Scenario{
		{Name: "statefulset-rollout", Title: "A StatefulSet is updated in order, first one pod as a canary, and taken back", Steps: make([]tour.Step, 9)},
		{Name: "network-policy", Title: "A connection that no policy allows is dropped, and the policy that denied it is named", Steps: make([]tour.Step, 14)},
		{Name: "crd", Title: "容器", Steps: make([]tour.Step, 3)},
	}
}

// tourEvents are a rollout under way, a denied connection whose check failed, and text that must not reach a terminal as it is.
func tourEvents(s []*tour.Scenario) []tour.Event {
	return []tour.Event{
		{Kind: tour.ScenarioStarted, Scenario: s[0], Text: "/tmp/x"},
		{Kind: tour.StepStarted, Scenario: s[0], Step: 4, Text: "The canary is well, so the others follow, the highest number first, each once the one before it is ready and has stayed so."},
		{Kind: tour.CommandStarted, Scenario: s[0], Step: 4, Text: "kubectl -n tour-statefulset-rollout patch statefulset web -p '{\"spec\":{\"updateStrategy\":{}}}'\nkubectl rollout status"},
		{Kind: tour.OutputLine, Scenario: s[0], Step: 4, Text: "statefulset.apps/web patched"},
		{Kind: tour.OutputLine, Scenario: s[0], Step: 4, Text: "\x1b[31mred\x1b[0m and a line that is much too long for a terminal of eighty columns, so that it has to be cut"},
		{Kind: tour.OutputLine, Scenario: s[0], Step: 4, Text: "Waiting for partitioned roll out to finish: 2 out of 3 new pods have been updated..."},
		{Kind: tour.StepStarted, Scenario: s[1], Step: 2},
		{Kind: tour.CommandStarted, Scenario: s[1], Step: 2, Text: "kubectl exec client -- kl-engine tour get http://server"},
		{Kind: tour.Waiting, Scenario: s[1], Step: 2, Text: "server answers 10.244.1.3:40780"},
		{Kind: tour.Checked, Scenario: s[1], Step: 2, Check: tour.Check{Expected: "the command is refused or fails", Seen: "it succeeded:\nserver answers"}},
		{Kind: tour.Checked, Scenario: s[1], Step: 2, Check: tour.Check{Expected: `it prints "timed out"`, Held: true}},
	}
}

func tourAt(profile termenv.Profile, events []tour.Event, size kit.Area) tourModel {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(profile)
	var m tea.Model = newTourModel(kit.NewStyles(r), tourScenarios())
	m, _ = m.Update(tea.WindowSizeMsg{Width: size.W, Height: size.H})
	for _, e := range events {
		m, _ = m.Update(tourMsg(e))
	}
	return m.(tourModel)
}

func TestTour(t *testing.T) {
	files := goldentest.New(t)
	all := tourScenarios()
	events := tourEvents(all)
	for name, events := range map[string][]tour.Event{"one": events[:6], "two": events} {
		for _, size := range []kit.Area{{W: 40, H: 10}, {W: 80, H: 24}, {W: 120, H: 40}} {
			t.Run(fmt.Sprintf("%s-%s", name, size), func(t *testing.T) {
				got := tourAt(termenv.Ascii, events, size).View()
				lines := strings.Split(got, "\n")
				if len(lines) >= size.H {
					t.Errorf("%d lines do not fit %s", len(lines), size)
				}
				for _, line := range lines {
					if w := ansi.StringWidth(line); w > size.W {
						t.Errorf("%d cells wide: %q", w, line)
					}
				}
				if strings.Contains(got, "\x1b") {
					t.Errorf("escape sequences are passed on: %q", got)
				}
				files.Equal(t, got)
			})
		}
	}
	t.Run("ended", func(t *testing.T) {
		r := lipgloss.NewRenderer(io.Discard)
		r.SetColorProfile(termenv.Ascii)
		var got []string
		for i, result := range []tour.Result{
			{Outcome: tour.Passed, Seconds: 16.34}, {Outcome: tour.Failed, Seconds: 3, Reason: "step 2: expected that it fails, but: it succeeded\n\x1b[2Jagain"},
			{Outcome: tour.Skipped, Reason: "needs 2 ready nodes (the cluster has 1)"},
		} {
			got = append(got, tourEnd(kit.NewStyles(r), all[i], &result, 80)...)
		}
		files.Equal(t, strings.Join(got, "\n"))
	})
}

// What has ended is printed above, and leaves the part that is drawn again.
func TestTourEnds(t *testing.T) {
	m := tourAt(termenv.Ascii, nil, kit.Area{W: 80, H: 24})
	s := tourScenarios()
	for _, e := range tourEvents(s) {
		next, _ := m.Update(tourMsg(e))
		m = next.(tourModel)
	}
	next, cmd := m.Update(tourMsg{Kind: tour.ScenarioEnded, Scenario: s[0], Result: &tour.Result{Outcome: tour.Failed}})
	if cmd == nil || strings.Contains(next.View(), s[0].Name) || !strings.Contains(next.View(), "1 of 3 scenarios, 1 failed") {
		t.Errorf("after one scenario has ended:\n%s", next.View())
	}
	if next, cmd = next.Update(tourEndMsg{}); cmd == nil || next.View() != "" {
		t.Errorf("at the end: %q", next.View())
	}
}
