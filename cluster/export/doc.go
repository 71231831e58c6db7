// Package export gathers what is known about one cluster into a support bundle: a directory or an archive that a person can send
// to somebody who has never seen the machine. It reads and never changes anything, and works as far as it can with a cluster that is
// stopped, paused, half started, or whose API server does not answer: every part has a limit of its own, and what could not be
// gathered is named, with the reason, in index.txt.
//
//	result, err := export.Write(ctx, export.Destination{Dir: "bundle"}, c, nil)
//	fmt.Println(result.Path, result.Files, result.Missing)
//
// What a bundle must not contain: values of Secrets, private keys, tokens. Objects are redacted by their structure ([Redact]), audit
// events by what they are about, and every line of text is searched for the values of the cluster's Secrets, for private keys and for tokens
// on its way into a file. kl's own keys, kubeconfigs and encryption keys are never read.
package export
