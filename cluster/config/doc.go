// Package config reads the file given to `kl up -f`: YAML in, a [cluster.Spec] or every problem with its position out.
//
// It is strict in three steps, and each step reports all it finds: the YAML itself, the fields (unknown names, wrong
// types), and what the values mean together (overlapping ranges, a port twice, more memory than the machine has).
//
// [Schema] is the same format as a JSON Schema, [View] writes a Spec back, and [Plan] says what it takes to bring a
// running cluster from one Spec to another.
package config
