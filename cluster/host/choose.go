package host

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// driverFor opens the driver of a cluster. One without real nodes needs none.
func (h *Host) driverFor(ctx context.Context, s cluster.Spec) (cluster.Driver, error) {
	d, _, err := h.chooseFor(ctx, s)
	return d, err
}

// chooseFor is driverFor that also returns why auto became that driver; empty if the Spec names the driver.
func (h *Host) chooseFor(ctx context.Context, s cluster.Spec) (d cluster.Driver, why string, err error) {
	switch {
	case s.Driver == cluster.DriverSimulated:
		return nodeless{}, "", nil
	case s.Driver != cluster.DriverAuto:
		d, err = h.OpenDriver(ctx, s.Driver)
		return d, "", err
	case s.NodeCount() == 0:
		return nodeless{}, "auto: no real nodes", nil
	}
	var passed []string
	for _, name := range h.Drivers {
		d, err := h.OpenDriver(ctx, name)
		if err != nil {
			passed = append(passed, string(name)+": "+err.Error())
			continue
		}
		if len(passed) == 0 {
			return d, "auto: the first that is tried, and it works", nil
		}
		return d, "auto: not " + strings.Join(passed, "; not "), nil
	}
	return nil, "", &cluster.Error{
		Op: "choose a driver", Err: fmt.Errorf("%w (%s)", cluster.ErrNoEngine, strings.Join(passed, "; ")),
		Hint: "start Docker (or point DOCKER_HOST at an engine), or run kl as root on Linux for nodes without one",
	}
}

// noteDriver records why a cluster has its driver. An empty reason leaves the previous one in place.
func noteDriver(l cluster.Layout, why string) error {
	if why == "" {
		return nil
	}
	return statefile.Write(l.DriverFile(), []byte(why+"\n"), 0o600)
}

// driverReason returns what noteDriver recorded; empty for a driver that the Spec names.
func driverReason(l cluster.Layout) string {
	text, err := statefile.Read(l.DriverFile())
	if err != nil {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) { // nothing that noteDriver wrote
			return -1
		}
		return r
	}, string(text))
}
