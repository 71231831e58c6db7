package metrics

import (
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/options"
	utilcompatibility "k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/metrics-server/pkg/api"
	generatedopenapi "sigs.k8s.io/metrics-server/pkg/api/generated/openapi"

	"github.com/klkube/kl/cluster"
)

// Lifetimes of the API server's answers about tokens and permissions, and the time-out of one: upstream's defaults.
const (
	tokenTTL      = 10 * time.Second
	permissionTTL = 10 * time.Second
	reviewTimeout = 10 * time.Second
)

// genericConfig is upstream's options.ApiserverConfig with certificates of this cluster: it does not read the ConfigMap
// extension-apiserver-authentication, and does not make a certificate for a loopback client, which takes 0.3 s.
func (s *Server) genericConfig(l net.Listener, own *rest.Config) (*genericapiserver.Config, error) {
	cert, err := dynamiccertificates.NewStaticCertKeyContent("metrics-server", own.CertData, own.KeyData)
	if err != nil {
		return nil, fmt.Errorf("use certificate: %w", err)
	}
	c := genericapiserver.NewConfig(api.Codecs)
	c.SecureServing = &genericapiserver.SecureServingInfo{
		Listener: l, Cert: cert, MinTLSVersion: tls.VersionTLS12, CipherSuites: cluster.CipherSuites(),
	}
	c.LoopbackClientConfig = rest.CopyConfig(own)
	c.LoopbackClientConfig.Host = "https://" + l.Addr().String()
	c.EffectiveVersion = utilcompatibility.DefaultBuildEffectiveVersion()
	c.EnableProfiling = false
	names := openapinamer.NewDefinitionNamer(api.Scheme)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(generatedopenapi.GetOpenAPIDefinitions, names)
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(generatedopenapi.GetOpenAPIDefinitions, names)
	c.OpenAPIConfig.Info.Title, c.OpenAPIV3Config.Info.Title = "Kubernetes metrics-server", "Kubernetes metrics-server"
	reviews, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if err := s.authenticate(c, reviews); err != nil {
		return nil, fmt.Errorf("set up authentication: %w", err)
	}
	delegated, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: reviews.AuthorizationV1(),
		AllowCacheTTL:             permissionTTL, DenyCacheTTL: permissionTTL,
		WebhookRetryBackoff: options.DefaultAuthWebhookRetryBackoff(),
	}.New()
	if err != nil {
		return nil, fmt.Errorf("set up authorization: %w", err)
	}
	c.Authorization.Authorizer, err = union.New(
		union.NamedAuthorizer{AuthorizerName: "masters", Authorizer: authorizerfactory.NewPrivilegedGroups("system:masters")},
		union.NamedAuthorizer{AuthorizerName: "delegated", Authorizer: delegated})
	if err != nil {
		return nil, fmt.Errorf("set up authorization: %w", err)
	}
	return c, nil
}

// authenticate accepts requests that the API server forwards, client certificates of the cluster, and tokens.
func (s *Server) authenticate(c *genericapiserver.Config, reviews kubernetes.Interface) error {
	clients, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", s.Layout.Trust("ca"))
	if err != nil {
		return err
	}
	front, err := dynamiccertificates.NewDynamicCAContentFromFile("request-header", s.Layout.Trust("front-proxy-ca"))
	if err != nil {
		return err
	}
	header := &authenticatorfactory.RequestHeaderConfig{
		UsernameHeaders:     headerrequest.StaticStringSlice{"X-Remote-User"},
		UIDHeaders:          headerrequest.StaticStringSlice{"X-Remote-Uid"},
		GroupHeaders:        headerrequest.StaticStringSlice{"X-Remote-Group"},
		ExtraHeaderPrefixes: headerrequest.StaticStringSlice{"X-Remote-Extra-"},
		CAContentProvider:   front,
		AllowedClientNames:  headerrequest.StaticStringSlice{"front-proxy-client"},
	}
	for _, ca := range []dynamiccertificates.CAContentProvider{clients, front} {
		if err := c.Authentication.ApplyClientCert(ca, c.SecureServing); err != nil {
			return err
		}
	}
	c.Authentication.RequestHeaderConfig = header
	c.Authentication.Authenticator, _, err = authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                          &apiserver.AnonymousAuthConfig{Enabled: false},
		TokenAccessReviewClient:            reviews.AuthenticationV1(),
		TokenAccessReviewTimeout:           reviewTimeout,
		WebhookRetryBackoff:                options.DefaultAuthWebhookRetryBackoff(),
		CacheTTL:                           tokenTTL,
		ClientCertificateCAContentProvider: clients,
		RequestHeaderConfig:                header,
	}.New()
	return err
}
