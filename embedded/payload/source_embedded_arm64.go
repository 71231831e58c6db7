//go:build payload

package payload

import _ "embed"

//go:embed payload_arm64.tar.zst
var archive string

//go:embed payload_arm64.sha256
var archiveSHA string
