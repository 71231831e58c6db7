package critest

import (
	"os"
	"regexp"
	"strings"
)

// skip names specs that cannot be run in a node, and why.
type skip struct{ pattern, reason string }

// skips are the specs that are left out. Others are skipped by the suite itself, where the kernel lacks what they check.
func skips() []skip {
	all := []skip{
		{`public image with digest should be pulled and removed`,
			"the image is named by the digest of its upstream bytes, which only the public registry has"},
	}
	if b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err == nil && strings.HasPrefix(string(b), "Y") {
		all = append(all, skip{`AppArmor`, "a node has no apparmor_parser to load the profiles with"})
	}
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil {
		all = append(all, skip{`SELinux`, "a node's containerd does not label containers"})
	}
	return all
}

// skipReason returns why a spec is left out; empty if it is not.
func skipReason(name string) string {
	for _, s := range skips() {
		if regexp.MustCompile(s.pattern).MatchString(name) {
			return s.reason
		}
	}
	return ""
}
