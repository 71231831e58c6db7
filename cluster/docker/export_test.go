package docker

// AssumeCapabilities makes the driver find out by trying whether the engine starts privileged containers.
func (d *Driver) AssumeCapabilities() { d.modes.decided = true }

// CapsMissingFrom is exported for its test.
var CapsMissingFrom = capsMissingFrom
