package encryption

// Loadable reports whether the API server takes the configuration.
func Loadable(c Config) bool { return c.loadable() }
