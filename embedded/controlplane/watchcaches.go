package controlplane

import "strings"

// rarelyWatched are resources that change seldom and that few watch. By default the API server keeps all objects of every resource in memory,
// decoded, with a hundred of their earlier versions, copies them out of etcd when it starts, and wakes up every second to see whether a
// client wants a bookmark. That pays for itself where many watch, or changes are many. These are served by etcd, in the same process.
//
// Definitions of custom resources are here for another reason: each changes several times while its resource is set up, and some have
// megabytes.
func rarelyWatched() []string {
	return []string{
		"limitranges", "podtemplates", "replicationcontrollers", "resourcequotas",
		"mutatingadmissionpolicies.admissionregistration.k8s.io", "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
		"mutatingwebhookconfigurations.admissionregistration.k8s.io", "validatingadmissionpolicies.admissionregistration.k8s.io",
		"validatingadmissionpolicybindings.admissionregistration.k8s.io", "validatingwebhookconfigurations.admissionregistration.k8s.io",
		"customresourcedefinitions.apiextensions.k8s.io", "apiservices.apiregistration.k8s.io",
		"controllerrevisions.apps", "horizontalpodautoscalers.autoscaling", "cronjobs.batch",
		"certificatesigningrequests.certificates.k8s.io", "clustertrustbundles.certificates.k8s.io", "podcertificaterequests.certificates.k8s.io",
		"flowschemas.flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
		"ingressclasses.networking.k8s.io", "ingresses.networking.k8s.io", "ipaddresses.networking.k8s.io", "servicecidrs.networking.k8s.io",
		"runtimeclasses.node.k8s.io", "poddisruptionbudgets.policy",
		"clusterrolebindings.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io",
		"roles.rbac.authorization.k8s.io",
		"deviceclasses.resource.k8s.io", "devicetaintrules.resource.k8s.io", "resourceclaims.resource.k8s.io",
		"resourceclaimtemplates.resource.k8s.io", "resourceslices.resource.k8s.io",
		"priorityclasses.scheduling.k8s.io",
		"csidrivers.storage.k8s.io", "csinodes.storage.k8s.io", "csistoragecapacities.storage.k8s.io", "storageclasses.storage.k8s.io",
		"volumeattachments.storage.k8s.io", "volumeattributesclasses.storage.k8s.io",
		"storageversionmigrations.storagemigration.k8s.io",
	}
}

// withoutWatchCache is the value of the API server's flag watch-cache-sizes.
func withoutWatchCache() string { return strings.Join(rarelyWatched(), "#0,") + "#0" }
