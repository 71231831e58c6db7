package cluster

import "crypto/tls"

// AdminGroup is the group of the user's client certificate. The control plane binds it to cluster-admin.
const AdminGroup = "kl:cluster-admins"

// CipherSuites are those of TLS 1.2 that servers of a cluster accept: authenticated encryption with forward secrecy. TLS 1.3
// has no others.
func CipherSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// CipherSuiteNames are the names of CipherSuites, as flags and configuration files have them.
func CipherSuiteNames() []string {
	var names []string
	for _, id := range CipherSuites() {
		names = append(names, tls.CipherSuiteName(id))
	}
	return names
}
