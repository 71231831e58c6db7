// Package scenarios holds the scenarios of kl tour: a directory each, in the format that package tour describes.
package scenarios

import "embed"

// Files has a directory for each scenario.
//
//go:embed */scenario.yaml */*
var Files embed.FS
