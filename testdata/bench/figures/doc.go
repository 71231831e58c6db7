// Package figures is what kl's benchmarks measure, as data: how it is kept in a file, printed, compared and published.
//
// A benchmark in cmd/kl measures samples and makes a [Row] of them, under a key such as up/nodes=1/driver=docker. What a key
// means, in words, unit and aim, is in one catalogue. Rows are added to a [File], which is JSON, after each benchmark, so that
// one that is killed leaves what was measured before:
//
//	row, err := figures.NewRow("up/nodes=0", 1.62, 1.58, 1.71)
//	if err != nil {
//		return err
//	}
//	row.Ratios = []float64{0.36, 0.34, 0.37} // to U in the same round
//	err = figures.Add("new.json", run, row)
//
// U is how long etcd and kube-apiserver take as two processes, unchanged, to /readyz. A machine that is slower today makes both
// slower, so a ratio to U of the same round says more about kl than seconds do.
//
// From files come the answers to four questions. What did this cost, [Table]. Did it get worse than in an older file, [Compare],
// by the tests of benchstat. What does README say, [Document], from the committed file figures.json, into which [File.Adopt]
// takes new rows; rows that were not measured again stay as they are, and say of when they are. And may a change be merged,
// [Gate], by ratios alone, because the machines of CI differ.
package figures
