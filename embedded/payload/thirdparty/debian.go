package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// debianLicences are the licences of the files taken from each package, according to /usr/share/doc/<package>/copyright.
func debianLicences() map[string]string {
	return map[string]string{
		"busybox-static":  "GPL-2.0-only",
		"ca-certificates": "MPL-2.0",
		"libblkid1":       "LGPL-2.1-or-later",
		"libbsd0":         "BSD-3-Clause and others",
		"libc6":           "LGPL-2.1-or-later",
		"libedit2":        "BSD-3-Clause",
		"libgmp10":        "LGPL-3.0-or-later OR GPL-2.0-or-later",
		"libjansson4":     "MIT",
		"libmd0":          "BSD-3-Clause and others",
		"libmnl0":         "LGPL-2.1-or-later",
		"libmount1":       "LGPL-2.1-or-later",
		"libnftables1":    "GPL-2.0-only",
		"libnftnl11":      "GPL-2.0-or-later",
		"libpcre2-8-0":    "BSD-3-Clause",
		"libselinux1":     "public domain",
		"libtinfo6":       "MIT-X11",
		"libxtables12":    "GPL-2.0-or-later",
		"mount":           "GPL-2.0-or-later",
		"nftables":        "GPL-2.0-only",
	}
}

// writeDebian lists the packages of debian.lock. Versions are the same for all architectures.
func writeDebian(w io.Writer, root string) error {
	b, err := os.ReadFile(filepath.Join(root, "embedded/payload/debian.lock"))
	if err != nil {
		return err
	}
	fmt.Fprint(w, "\n## Debian packages\n\n| package | version | licence |\n| --- | --- | --- |\n")
	licences := debianLicences()
	var rows []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // arch name version sha256
		if len(f) != 4 {
			return fmt.Errorf("read debian.lock: bad line %q", line)
		}
		licence := licences[f[1]]
		if licence == "" {
			return fmt.Errorf("the licence of Debian's %s is not known: read its copyright file", f[1])
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s |\n", f[1], f[2], licence))
	}
	slices.Sort(rows)
	for _, row := range slices.Compact(rows) {
		fmt.Fprint(w, row)
	}
	return nil
}
