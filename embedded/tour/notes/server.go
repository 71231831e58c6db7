// Package notes has the program of the tour that is an extension API server: it serves the resource notes of tour.kl.dev/v1alpha1 from
// memory, and the API server forwards to it what an APIService says. Who is asking, and whether they may, it asks the API server.
//
//	kl-engine tour apiserver --cert /tls/tls.crt --key /tls/tls.key
//
// Its ServiceAccount needs the ClusterRole system:auth-delegator, and the Role extension-apiserver-authentication-reader of kube-system.
package notes

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/options"
	utilcompatibility "k8s.io/apiserver/pkg/util/compatibility"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"

	"github.com/klkube/kl/embedded/tour"
)

// drainTime is how long connections may go on after SIGTERM. Watches end only then.
const drainTime = 300 * time.Millisecond

// APIServer serves notes.
func APIServer() tour.Program {
	s := &server{}
	return tour.Program{
		Name: "apiserver", Short: "an extension API server with the resource notes of tour.kl.dev/v1alpha1", Run: s.run,
		Long: `Notes are namespaced, have one field, spec.text, and are kept in memory. The server asks the API server who makes a request and
whether they may. For that its ServiceAccount needs the ClusterRole system:auth-delegator, and in kube-system the Role
extension-apiserver-authentication-reader. Delete its APIService before the server stops: while that is there and nobody answers, no
namespace can be deleted.`,
		Flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&s.listen, "listen", ":8443", "address to serve on")
			fs.StringVar(&s.cert, "cert", "", "file with its certificate; one is made if empty, for an APIService that does not verify it")
			fs.StringVar(&s.key, "key", "", "file with the certificate's key")
			fs.StringVar(&s.kubeconfig, "kubeconfig", "", "file to reach the API server with; the pod's ServiceAccount if empty")
		},
	}
}

type server struct {
	listen, cert, key, kubeconfig string

	log *tour.Log
}

func (s *server) run(ctx context.Context, _ []string, log *tour.Log) error {
	s.log = log
	if (s.cert == "") != (s.key == "") {
		return tour.Usagef("--cert and --key go together")
	}
	serving, err := s.certificate()
	if err != nil {
		return err
	}
	if _, err := tour.ClientConfig(s.kubeconfig); err != nil { // for its error, which names the file
		return err
	}
	l, err := tour.Listen(ctx, s.listen)
	if err != nil {
		return err
	}
	defer l.Close()
	generic, err := s.newServer(l, serving)
	if err != nil {
		return err
	}
	log.Printf("apiserver listens: https %s", l.Addr())
	if err := generic.PrepareRun().RunWithContext(ctx); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// certificate reads the serving certificate, or makes one.
func (s *server) certificate() (dynamiccertificates.CertKeyContentProvider, error) {
	if s.cert != "" {
		content, err := dynamiccertificates.NewDynamicServingContentFromFiles("tour", s.cert, s.key)
		if err != nil {
			return nil, fmt.Errorf("read %s and %s: %w", s.cert, s.key, err)
		}
		return content, nil
	}
	chain, key, err := cert.GenerateSelfSignedCertKey("tour", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return dynamiccertificates.NewStaticCertKeyContent("tour", chain, key)
}

// newServer makes upstream's generic API server, which has one resource.
func (s *server) newServer(l net.Listener, serving dynamiccertificates.CertKeyContentProvider) (*genericapiserver.GenericAPIServer, error) {
	scheme, codecs := newScheme()
	c := genericapiserver.NewConfig(codecs)
	c.SecureServing = &genericapiserver.SecureServingInfo{Listener: l, Cert: serving, MinTLSVersion: tls.VersionTLS12}
	c.LoopbackClientConfig = &clientrest.Config{Host: "https://" + l.Addr().String()} // wanted, and used by nothing that runs here
	c.EffectiveVersion = utilcompatibility.DefaultBuildEffectiveVersion()
	c.EnableProfiling = false
	names := openapinamer.NewDefinitionNamer(scheme)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, names)
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, names)
	c.OpenAPIConfig.Info.Title, c.OpenAPIV3Config.Info.Title = "Notes of kl tour", "Notes of kl tour"
	c.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		return genericapiserver.DefaultBuildHandlerChain(s.logged(api), c)
	}
	if err := s.delegate(c); err != nil {
		return nil, err
	}
	generic, err := c.Complete(nil).New("tour", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("make the server: %w", err)
	}
	generic.ShutdownTimeout = drainTime
	return generic, install(generic, scheme, codecs)
}

// delegate lets the API server say who makes a request and whether they may.
func (s *server) delegate(c *genericapiserver.Config) error {
	who := options.NewDelegatingAuthenticationOptions()
	who.RemoteKubeConfigFile = s.kubeconfig
	if err := who.ApplyTo(&c.Authentication, c.SecureServing, c.OpenAPIConfig); err != nil {
		return fmt.Errorf("read how the API server says who makes a request: %w", err)
	}
	may := options.NewDelegatingAuthorizationOptions()
	may.RemoteKubeConfigFile = s.kubeconfig
	if err := may.ApplyTo(&c.Authorization); err != nil {
		return fmt.Errorf("set up authorization: %w", err)
	}
	return nil
}

func install(generic *genericapiserver.GenericAPIServer, scheme *runtime.Scheme, codecs serializer.CodecFactory) error {
	store, err := newStore(scheme, codecs.LegacyCodec(scheme.PrioritizedVersionsForGroup(group)...), newMemory(time.Now()))
	if err != nil {
		return err
	}
	info := genericapiserver.NewDefaultAPIGroupInfo(group, scheme, runtime.NewParameterCodec(scheme), codecs)
	info.VersionedResourcesStorageMap[version] = map[string]rest.Storage{plural: store}
	if err := generic.InstallAPIGroup(&info); err != nil {
		return fmt.Errorf("install notes: %w", err)
	}
	return nil
}

// logged logs requests for notes, once it is known who makes them and that they may.
func (s *server) logged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		if user, known := request.UserFrom(r.Context()); ok && known && info.IsResourceRequest {
			where := strings.Trim(info.Namespace+"/"+info.Name, "/")
			s.log.Printf("%s: %s", user.GetName(), strings.TrimSpace(info.Verb+" "+info.Resource+" "+where))
		}
		h.ServeHTTP(w, r)
	})
}
