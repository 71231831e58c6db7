package convert

import "maps"

// rule says what one kind of one API version has become.
type rule struct {
	to   string // apiVersion today
	kind string // today; empty if the kind has kept its name
	gone string // first release of Kubernetes without the old version
	// fix converts the fields. It returns why that cannot be done; empty if it was. Nil if the fields are the same.
	fix func(*object) string
	// instead is what to do about a kind that has no successor; the other fields are then empty.
	instead string
}

const (
	noInitializers = "initializers were removed in Kubernetes 1.16: do the same with a MutatingAdmissionPolicy or a mutating webhook"
	noFederation   = "federation v1 has no successor: apply the objects to each cluster, or use a project for many clusters"
	noComponent    = "a component's configuration file is no API object: give it to the component in today's version of its own API"
)

// rules returns what each old kind has become, by "apiVersion kind"; kind * stands for all others of the version.
func rules() map[string]rule {
	all := workloadRules()
	maps.Copy(all, otherRules())
	same := func(group, gone, version string, kinds ...string) {
		for _, k := range kinds {
			all[group+"/"+version+" "+k] = rule{to: group + "/v1", gone: gone}
		}
	}
	same("apps", "1.16", "v1beta2", "Deployment", "DaemonSet", "ReplicaSet", "StatefulSet", "ControllerRevision")
	same("rbac.authorization.k8s.io", "1.22", "v1beta1", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
	same("storage.k8s.io", "1.22", "v1beta1", "StorageClass", "VolumeAttachment", "CSIDriver", "CSINode")
	same("storage.k8s.io", "1.24", "v1alpha1", "VolumeAttachment", "CSIStorageCapacity")
	same("storage.k8s.io", "1.27", "v1beta1", "CSIStorageCapacity")
	same("scheduling.k8s.io", "1.22", "v1alpha1", "PriorityClass")
	same("scheduling.k8s.io", "1.22", "v1beta1", "PriorityClass")
	same("networking.k8s.io", "1.34", "v1alpha1", "IPAddress", "ServiceCIDR")
	same("networking.k8s.io", "1.37", "v1beta1", "IPAddress", "ServiceCIDR")
	same("admissionregistration.k8s.io", "1.38", "v1alpha1", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
	same("admissionregistration.k8s.io", "1.40", "v1beta1", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
	same("authorization.k8s.io", "1.22", "v1beta1", "SelfSubjectAccessReview", "SelfSubjectRulesReview")
	return all
}

// workloadRules is rules for what runs pods, and for what is about them.
func workloadRules() map[string]rule {
	return map[string]rule{
		"extensions/v1beta1 Deployment":                          {to: "apps/v1", gone: "1.16", fix: deploymentOfExtensions},
		"extensions/v1beta1 DaemonSet":                           {to: "apps/v1", gone: "1.16", fix: daemonSetOfExtensions},
		"extensions/v1beta1 ReplicaSet":                          {to: "apps/v1", gone: "1.16", fix: withDefaultSelector},
		"extensions/v1beta1 Ingress":                             {to: "networking.k8s.io/v1", gone: "1.22", fix: ingress},
		"extensions/v1beta1 NetworkPolicy":                       {to: "networking.k8s.io/v1", gone: "1.16"},
		"extensions/v1beta1 ThirdPartyResource":                  {to: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", gone: "1.8", fix: thirdPartyResource},
		"extensions/v1beta1 HorizontalPodAutoscaler":             {to: "autoscaling/v1", gone: "1.8", fix: autoscalerOfExtensions},
		"extensions/v1beta1 Job":                                 {to: "batch/v1", gone: "1.6", fix: jobOfExtensions},
		"extensions/v1beta1 PodSecurityPolicy":                   {gone: "1.25", fix: podSecurityPolicy},
		"extensions/v1beta1 DeploymentRollback":                  {instead: "rolling back is no API object: kubectl rollout undo --to-revision=N"},
		"extensions/v1beta1 Scale":                               {to: "autoscaling/v1", gone: "1.16"},
		"apps/v1alpha1 PetSet":                                   {to: "apps/v1", kind: "StatefulSet", gone: "1.5", fix: statefulSetOfBeta},
		"apps/v1beta1 StatefulSet":                               {to: "apps/v1", gone: "1.16", fix: statefulSetOfBeta},
		"apps/v1beta1 Deployment":                                {to: "apps/v1", gone: "1.16", fix: deploymentOfBeta},
		"apps/v1beta1 ControllerRevision":                        {to: "apps/v1", gone: "1.16"},
		"apps/v1beta1 DeploymentRollback":                        {instead: "rolling back is no API object: kubectl rollout undo --to-revision=N"},
		"apps/v1beta1 Scale":                                     {to: "autoscaling/v1", gone: "1.16"},
		"batch/v2alpha1 ScheduledJob":                            {to: "batch/v1", kind: "CronJob", gone: "1.8", fix: cronJobOfAlpha},
		"batch/v2alpha1 CronJob":                                 {to: "batch/v1", gone: "1.21", fix: cronJobOfAlpha},
		"batch/v2alpha1 Job":                                     {to: "batch/v1", gone: "1.5"},
		"batch/v2alpha1 JobTemplate":                             {instead: "a JobTemplate is no API object: put its template into a Job or a CronJob"},
		"batch/v1beta1 CronJob":                                  {to: "batch/v1", gone: "1.25", fix: cronJob},
		"policy/v1alpha1 PodDisruptionBudget":                    {to: "policy/v1", gone: "1.6", fix: disruptionBudget},
		"policy/v1beta1 PodDisruptionBudget":                     {to: "policy/v1", gone: "1.25", fix: disruptionBudget},
		"policy/v1beta1 Eviction":                                {to: "policy/v1", gone: "1.25"},
		"policy/v1beta1 PodSecurityPolicy":                       {gone: "1.25", fix: podSecurityPolicy},
		"autoscaling/v2alpha1 HorizontalPodAutoscaler":           {to: "autoscaling/v2", gone: "1.9", fix: autoscaler},
		"autoscaling/v2beta1 HorizontalPodAutoscaler":            {to: "autoscaling/v2", gone: "1.25", fix: autoscaler},
		"autoscaling/v2beta2 HorizontalPodAutoscaler":            {to: "autoscaling/v2", gone: "1.26", fix: autoscaler},
		"networking.k8s.io/v1beta1 Ingress":                      {to: "networking.k8s.io/v1", gone: "1.22", fix: ingress},
		"networking.k8s.io/v1beta1 IngressClass":                 {to: "networking.k8s.io/v1", gone: "1.22"},
		"networking.k8s.io/v1alpha1 ClusterCIDR":                 {instead: "ClusterCIDR was removed in Kubernetes 1.29 and has no successor: set --cluster-cidr of the controller manager"},
		"certificates.k8s.io/v1alpha1 CertificateSigningRequest": {to: "certificates.k8s.io/v1", gone: "1.8", fix: signingRequest},
		"certificates.k8s.io/v1beta1 CertificateSigningRequest":  {to: "certificates.k8s.io/v1", gone: "1.22", fix: signingRequest},
	}
}

// otherRules is rules for the rest.
func otherRules() map[string]rule {
	return map[string]rule{
		"apiextensions.k8s.io/v1beta1 CustomResourceDefinition":                    {to: "apiextensions.k8s.io/v1", gone: "1.22", fix: definition},
		"admissionregistration.k8s.io/v1beta1 ValidatingWebhookConfiguration":      {to: "admissionregistration.k8s.io/v1", gone: "1.22", fix: webhooks},
		"admissionregistration.k8s.io/v1beta1 MutatingWebhookConfiguration":        {to: "admissionregistration.k8s.io/v1", gone: "1.22", fix: webhooks},
		"admissionregistration.k8s.io/v1alpha1 ExternalAdmissionHookConfiguration": {to: "admissionregistration.k8s.io/v1", kind: "ValidatingWebhookConfiguration", gone: "1.9", fix: externalHooks},
		"admissionregistration.k8s.io/v1alpha1 InitializerConfiguration":           {instead: noInitializers},
		"admissionregistration.k8s.io/v1alpha1 ValidatingAdmissionPolicy":          {to: "admissionregistration.k8s.io/v1", gone: "1.32"},
		"admissionregistration.k8s.io/v1alpha1 ValidatingAdmissionPolicyBinding":   {to: "admissionregistration.k8s.io/v1", gone: "1.32", fix: policyBinding},
		"admissionregistration.k8s.io/v1beta1 ValidatingAdmissionPolicy":           {to: "admissionregistration.k8s.io/v1", gone: "1.34"},
		"admissionregistration.k8s.io/v1beta1 ValidatingAdmissionPolicyBinding":    {to: "admissionregistration.k8s.io/v1", gone: "1.34"},
		"auditregistration.k8s.io/v1alpha1 AuditSink":                              {instead: "AuditSink was removed in Kubernetes 1.19: name the sink in a webhook configuration of the API server, --audit-webhook-config-file"},
		"settings.k8s.io/v1alpha1 PodPreset":                                       {instead: "PodPreset was removed in Kubernetes 1.20: put the fields into the pod templates, or inject them with a MutatingAdmissionPolicy"},
		"componentconfig/v1alpha1 *":                                               {instead: noComponent},
		"federation/v1alpha1 *":                                                    {instead: noFederation},
		"federation/v1beta1 *":                                                     {instead: noFederation},
		"v1 Policy":                                                                {instead: "a scheduler's Policy is no API object, and schedulers read none since Kubernetes 1.23: write a KubeSchedulerConfiguration"},
		"imagepolicy.k8s.io/v1alpha1 ImageReview":                                  {instead: "an ImageReview is sent by the API server and is not applied: remove it from the manifests"},
		"discovery.k8s.io/v1alpha1 EndpointSlice":                                  {to: "discovery.k8s.io/v1", gone: "1.20", fix: endpointSlice},
		"discovery.k8s.io/v1beta1 EndpointSlice":                                   {to: "discovery.k8s.io/v1", gone: "1.25", fix: endpointSlice},
		"events.k8s.io/v1beta1 Event":                                              {to: "events.k8s.io/v1", gone: "1.25", fix: event},
		"node.k8s.io/v1alpha1 RuntimeClass":                                        {to: "node.k8s.io/v1", gone: "1.22", fix: runtimeClass},
		"node.k8s.io/v1beta1 RuntimeClass":                                         {to: "node.k8s.io/v1", gone: "1.25"},
		"authorization.k8s.io/v1beta1 SubjectAccessReview":                         {to: "authorization.k8s.io/v1", gone: "1.22", fix: accessReview},
		"authorization.k8s.io/v1beta1 LocalSubjectAccessReview":                    {to: "authorization.k8s.io/v1", gone: "1.22", fix: accessReview},
		"storage.k8s.io/v1alpha1 VolumeAttributesClass":                            {to: "storage.k8s.io/v1", gone: "1.35"},
		"storage.k8s.io/v1beta1 VolumeAttributesClass":                             {to: "storage.k8s.io/v1", gone: "1.37"},
		"authentication.k8s.io/v1beta1 TokenReview":                                {to: "authentication.k8s.io/v1", gone: "1.22"},
		"rbac.authorization.k8s.io/v1alpha1 RoleBinding":                           {to: "rbac.authorization.k8s.io/v1", gone: "1.22", fix: bindingOfAlpha},
		"rbac.authorization.k8s.io/v1alpha1 ClusterRoleBinding":                    {to: "rbac.authorization.k8s.io/v1", gone: "1.22", fix: bindingOfAlpha},
		"rbac.authorization.k8s.io/v1alpha1 Role":                                  {to: "rbac.authorization.k8s.io/v1", gone: "1.22", fix: roleOfAlpha},
		"rbac.authorization.k8s.io/v1alpha1 ClusterRole":                           {to: "rbac.authorization.k8s.io/v1", gone: "1.22", fix: roleOfAlpha},
		"flowcontrol.apiserver.k8s.io/v1alpha1 PriorityLevelConfiguration":         {to: "flowcontrol.apiserver.k8s.io/v1", gone: "1.24", fix: priorityLevel},
		"flowcontrol.apiserver.k8s.io/v1beta1 PriorityLevelConfiguration":          {to: "flowcontrol.apiserver.k8s.io/v1", gone: "1.26", fix: priorityLevel},
		"flowcontrol.apiserver.k8s.io/v1beta2 PriorityLevelConfiguration":          {to: "flowcontrol.apiserver.k8s.io/v1", gone: "1.29", fix: priorityLevel},
		"flowcontrol.apiserver.k8s.io/v1beta3 PriorityLevelConfiguration":          {to: "flowcontrol.apiserver.k8s.io/v1", gone: "1.32", fix: priorityLevel},
		"flowcontrol.apiserver.k8s.io/v1alpha1 FlowSchema":                         {to: "flowcontrol.apiserver.k8s.io/v1", gone: "1.24"},
		"flowcontrol.apiserver.k8s.io/v1beta1 FlowSchema":                          {to: "flowcontrol.apiserver.k8s.io/v1", gone: "1.26"},
		"flowcontrol.apiserver.k8s.io/v1beta2 FlowSchema":                          {to: "flowcontrol.apiserver.k8s.io/v1", gone: "1.29"},
		"flowcontrol.apiserver.k8s.io/v1beta3 FlowSchema":                          {to: "flowcontrol.apiserver.k8s.io/v1", gone: "1.32"},
		"coordination.k8s.io/v1beta1 Lease":                                        {to: "coordination.k8s.io/v1", gone: "1.22"},
		"apiregistration.k8s.io/v1alpha1 APIService":                               {to: "apiregistration.k8s.io/v1", gone: "1.7"},
		"apiregistration.k8s.io/v1beta1 APIService":                                {to: "apiregistration.k8s.io/v1", gone: "1.22"},
	}
}
