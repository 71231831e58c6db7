package queues_test

// The tests run beside the package that registers itself, too: this one has to come before it.
import _ "k8s.io/component-base/metrics/prometheus/workqueue"
