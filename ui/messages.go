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
	// connectedMsg brings a session that has been opened, or why it could not be.
	connectedMsg struct {
		session *session
		target  observe.Target
		err     error
	}
	// tickMsg moves the clock on.
	tickMsg time.Time
	// spinMsg turns the spinner while something loads.
	spinMsg struct{}
	// pushMsg puts a screen on top.
	pushMsg struct{ screen screen }
	// showMsg shows one of the main screens.
	showMsg struct{ screen int }
	// dialogMsg opens a dialog.
	dialogMsg struct{ dialog kit.Dialog }
	// toastMsg is shown in the footer for a few seconds.
	toastMsg struct {
		text  string
		level observe.Level
	}
	// namespaceMsg chooses a namespace; the empty name means all of them.
	namespaceMsg struct{ name string }
	// targetsMsg brings the clusters that can be opened.
	targetsMsg struct {
		targets []observe.Target
		err     error
	}
	// resourcesMsg brings the resources that the server serves.
	resourcesMsg struct {
		session   *session
		resources []observe.Resource
		err       error
	}
	// newsMsg brings news from whoever started the dashboard.
	newsMsg News
	// quitMsg ends the program.
	quitMsg struct{}
)
