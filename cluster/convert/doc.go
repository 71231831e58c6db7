// Package convert turns Kubernetes manifests of the time of Kubernetes 1.7, and of all API versions that were removed since, into what
// an API server accepts today. Comments, order and quoting stay as they are; each change comes with a note, and so does what cannot be
// converted.
//
//	result, err := convert.Convert(data)
//	for _, n := range result.Notes {
//		fmt.Printf("%s:%d: %s: %s\n", file, n.Line, n.Object, n.Text)
//	}
//
// Defaults that differ between versions are written out, so that a converted object behaves as it did. What has no successor becomes
// a comment, or stays where the format has no comments, and its note says what to do.
//
// A file is split into documents (convert.go), each is read as a tree that remembers its lines (source.go, json.go), its objects are
// brought up to date by the rule for their version and kind (kinds.go and the files named after what they convert), and what changed
// is written into the lines around it (print.go). Converting a result changes nothing.
package convert
