package ui

import (
	"time"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// Messages between commands, the model and its screens.
type (
	// snapshotMsg brings the newest snapshot of a session.
	snapshotMsg struct {
		session *session
		snap    *observe.Snapshot
		changed <-chan struct{}
	}
	// connectedMsg ends an attempt to open a session.
	connectedMsg struct {
		session *session
		target  observe.Target
		err     error
	}
	// tickMsg moves the clock that ages are shown by.
	tickMsg time.Time
	// spinMsg turns the spinner while something loads.
	spinMsg struct{}
	// pushMsg puts a screen on top; popMsg takes it away.
	pushMsg struct{ screen screen }
	popMsg  struct{}
	// gotoMsg shows one of the main screens.
	gotoMsg struct{ screen int }
	// dialogMsg opens a dialog.
	dialogMsg struct{ dialog kit.Dialog }
	// toastMsg says something in the footer for a few seconds.
	toastMsg struct {
		text  string
		level observe.Level
	}
	// namespaceMsg chooses a namespace; empty means all.
	namespaceMsg struct{ name string }
	// targetsMsg brings the clusters that one can switch to.
	targetsMsg struct {
		targets []observe.Target
		err     error
	}
	// resourcesMsg brings what the server serves.
	resourcesMsg struct {
		session   *session
		resources []observe.Resource
		err       error
	}
	// newsMsg is what goes on outside of the dashboard.
	newsMsg News
	// quitMsg ends the program.
	quitMsg struct{}
)
