package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/klkube/kl/cluster/statefile"
)

// Supervision is what the control plane's supervisor writes to Layout.SupervisorFile, which it locks for as long as it
// lives.
type Supervision struct {
	PID     int              `json:"pid"`  // of the supervisor
	Boot    string           `json:"boot"` // BootID of the machine at that time
	State   SupervisionState `json:"state"`
	Crashes Crashes          `json:"crashes"`

	unreadable error // why the file of a supervisor that is gone says nothing
}

// SupervisionState is what a supervisor is doing.
type SupervisionState string

// The states of a supervisor.
const (
	SupervisionRunning  SupervisionState = "Running"  // the control plane's process runs
	SupervisionWaiting  SupervisionState = "Waiting"  // the process died and is started again at Crashes.Next
	SupervisionGaveUp   SupervisionState = "GaveUp"   // the process died too often: it stays down
	SupervisionStopping SupervisionState = "Stopping" // the process was told to end, and may still run
	SupervisionStopped  SupervisionState = "Stopped"  // the control plane ended because it was told to
)

// Crashes are the deaths of a control plane since it was started by a person or at boot.
type Crashes struct {
	Count  int       `json:"count"`
	InARow int       `json:"inARow"`          // without a time of health between them
	First  *Crash    `json:"first,omitempty"` // of those in a row
	Last   *Crash    `json:"last,omitempty"`
	Next   time.Time `json:"next,omitzero"` // when the control plane is started again; zero unless it waits for that
	// Waiting says why the control plane is not started again before something changes, such as the disk; empty if it is.
	Waiting string `json:"waiting,omitempty"`
}

// Crash is one death of a control plane.
type Crash struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Log    []string  `json:"log,omitempty"` // the last lines, or the first ones of a panic
}

// ReadSupervision returns what the cluster's last supervisor wrote, and whether that supervisor lives. Both are zero if the
// cluster never had one.
func ReadSupervision(l Layout) (s Supervision, alive bool, err error) {
	// It is written in place, so that a full disk does not matter: while the supervisor lives, a reader may see half of it.
	for end := time.Now().Add(supervisionGrace); ; <-time.After(supervisionGrace / 100) {
		alive, err = statefile.Locked(l.SupervisorFile())
		if errors.Is(err, fs.ErrNotExist) {
			return Supervision{}, false, nil
		}
		if err != nil {
			return Supervision{}, false, fmt.Errorf("find the control plane's supervisor: %w", err)
		}
		s = Supervision{}
		err := statefile.ReadJSON(l.SupervisorFile(), &s)
		if err == nil && s.State == "" {
			err = fmt.Errorf("read %s: has no state", l.SupervisorFile())
		}
		if err == nil {
			return s, alive, nil
		}
		if !alive || time.Now().After(end) {
			return Supervision{unreadable: err}, alive, nil // that it lives, or not, is all there is to know
		}
	}
}

const supervisionGrace = 300 * time.Millisecond

// Down returns the phase of a cluster whose control plane has no process, and the reason for it.
func (s Supervision) Down(alive bool) (Phase, string) {
	last := ""
	if s.Crashes.Last != nil {
		last = s.Crashes.Last.Reason
	}
	switch {
	case s.unreadable != nil && !alive:
		return PhaseStopped, s.unreadable.Error()
	case s.State == "" && !alive, s.State == SupervisionStopped, s.State == SupervisionStopping:
		return PhaseStopped, ""
	case s.State == SupervisionGaveUp:
		return PhaseCrashed, fmt.Sprintf("%s; it died %d times in a row and stays down: see 'kl logs', then 'kl start'", last, s.Crashes.InARow)
	case !alive && s.Boot != BootID():
		return PhaseStopped, "the machine was restarted: 'kl start' starts the cluster"
	case !alive:
		return PhaseCrashed, "its supervisor was killed, and the control plane with it: 'kl start' starts it again"
	case s.State == SupervisionWaiting && s.Crashes.Waiting != "":
		return PhaseCrashed, s.Crashes.Waiting + " (" + last + ")"
	case s.Crashes.Count > 0:
		return PhaseCrashed, last + "; it is being started again"
	}
	return PhaseStarting, ""
}

// BootID identifies the time from one boot of the machine to the next; empty on systems without /proc.
func BootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
