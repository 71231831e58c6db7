package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/cluster"
)

func newExposeCmd(e *env) *cobra.Command {
	x := exposer{env: e, namespace: metav1.NamespaceDefault}
	var publish []string
	cmd := &cobra.Command{
		Use: "expose [svc/]NAME", Short: "Publish a LoadBalancer Service on 127.0.0.1",
		Long: "Publish TCP ports of a Service of type LoadBalancer on 127.0.0.1, until Ctrl-C. Every connection goes through\n" +
			"the load balancer to one of the Service's pods, which sees the address of a node, not of your client. On Linux\n" +
			"you can also connect to the load balancer's address directly: see EXTERNAL-IP in 'kl kubectl get services'.",
		Example: "  kl expose svc/web                     # every TCP port, under its own number\n" +
			"  kl expose svc/web --port 8080         # its only TCP port, on 127.0.0.1:8080\n" +
			"  kl expose web -n shop --port 8080:80 --port 8443:https",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, ok := strings.Cut(args[0], "/")
			if !ok {
				kind, name = "svc", args[0]
			}
			if kind != "svc" && kind != "service" && kind != "services" || name == "" {
				return misuse(cmd, fmt.Errorf("%q is not a Service: use svc/NAME", args[0]))
			}
			x.service = name
			var err error
			if x.ports, err = parsePublish(publish); err != nil {
				return misuse(cmd, err)
			}
			return x.run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&x.namespace, "namespace", "n", x.namespace, "`namespace` of the Service")
	cmd.Flags().StringArrayVar(&publish, "port", nil, "port of 127.0.0.1 and, by number or name, of the Service, as `HOST[:PORT]`; may be repeated")
	return cmd
}

// exposer publishes the ports of one Service.
type exposer struct {
	*env
	namespace, service string
	ports              []publishFlag
	plane              *cluster.Client
}

// publishFlag is a value of --port.
type publishFlag struct {
	host    int    // port of 127.0.0.1
	service string // number or name of the Service's port; empty means its only one
}

func (f publishFlag) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%d:%s", f.host, f.service), ":")
}

// published is a port of this machine and the port of the Service that it leads to.
type published struct{ host, port int }

// parsePublish parses values of --port.
func parsePublish(flags []string) ([]publishFlag, error) {
	var out []publishFlag
	for _, f := range flags {
		left, right, colon := strings.Cut(f, ":")
		host, err := strconv.Atoi(left)
		switch {
		case err != nil || host < 1 || host > 65535:
			return nil, fmt.Errorf("--port %s: %q is not a port from 1 to 65535", f, left)
		case colon && right == "":
			return nil, fmt.Errorf("--port %s: the port of the Service is missing after the colon", f)
		case colon && !mayBePort(right):
			return nil, fmt.Errorf("--port %s: %q is neither a port from 1 to 65535 nor the name of one", f, right)
		}
		out = append(out, publishFlag{host, right})
	}
	return out, nil
}

// mayBePort reports whether a Service can have a port of that number or name.
func mayBePort(text string) bool {
	if n, err := strconv.Atoi(text); err == nil {
		return n >= 1 && n <= 65535
	}
	return len(validation.IsDNS1123Label(text)) == 0
}

// run publishes the ports until ctx is done.
func (x *exposer) run(ctx context.Context) error {
	x.plane = cluster.NewClient(x.layout())
	defer x.plane.Close()
	svc, err := x.find(ctx)
	if err != nil {
		return err
	}
	ports, err := choosePorts(svc, x.ports)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var listeners []net.Listener
	for _, p := range ports {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.host)))
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
			return x.fail("publish port "+strconv.Itoa(p.host), err, listenHint(err, p))
		}
		listeners = append(listeners, l)
	}
	for i, p := range ports {
		fmt.Fprintf(x.Out, "Forwarding %s to port %d of svc/%s, load balancer address %s\n",
			listeners[i].Addr(), p.port, x.service, svc.Status.LoadBalancer.Ingress[0].IP)
		wg.Go(func() { x.accept(ctx, listeners[i], p) })
	}
	fmt.Fprintln(x.Err, "Press Ctrl-C to stop.")
	<-ctx.Done()
	return context.Cause(ctx)
}

func (x *exposer) fail(op string, err error, hint string) error {
	return &cluster.Error{Op: op, Err: err, Hint: hint}
}

// listenHint suggests another port if this one is taken or privileged.
func listenHint(err error, p published) string {
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, os.ErrPermission) {
		return fmt.Sprintf("use another port: --port %d:%d", 8000+p.host%1000, p.port)
	}
	return ""
}

// find returns the Service. It is an error if the Service has no load balancer address.
func (x *exposer) find(ctx context.Context) (*corev1.Service, error) {
	if _, err := cluster.ReadSpec(x.layout()); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", x.layout().Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.Timeout = exposeTimeout
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	op := "expose svc/" + x.service
	kubectl := "kl kubectl -n " + x.namespace
	svc, err := client.CoreV1().Services(x.namespace).Get(ctx, x.service, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, x.fail(op, fmt.Errorf("namespace %s has no such Service", x.namespace), "'kl kubectl get services -A' lists all Services; -n selects the namespace")
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, x.fail(op, err, "see 'kl status'")
	case svc.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return nil, x.fail(op, fmt.Errorf("the Service is of type %s, not LoadBalancer", svc.Spec.Type),
			fmt.Sprintf("use '%s port-forward svc/%s', or change the type: %s patch svc %s -p '{\"spec\":{\"type\":\"LoadBalancer\"}}'", kubectl, x.service, kubectl, x.service))
	case len(svc.Status.LoadBalancer.Ingress) == 0:
		return nil, x.fail(op, errors.New("the Service has no address yet"), fmt.Sprintf("'%s describe svc %s' shows why", kubectl, x.service))
	}
	return svc, nil
}

// exposeTimeout limits a request to the API and a connection to the load balancer.
const exposeTimeout = 10 * time.Second

// choosePorts resolves the values of --port; without any, every TCP port is published under its own number.
func choosePorts(svc *corev1.Service, flags []publishFlag) ([]published, error) {
	var tcp []corev1.ServicePort
	for _, p := range svc.Spec.Ports {
		if p.Protocol == corev1.ProtocolTCP || p.Protocol == "" {
			tcp = append(tcp, p)
		}
	}
	if len(tcp) == 0 {
		return nil, &cluster.Error{Op: "expose svc/" + svc.Name, Err: errors.New("the Service has no TCP port, and only TCP can be published")}
	}
	var out []published
	if len(flags) == 0 {
		for _, p := range tcp {
			out = append(out, published{int(p.Port), int(p.Port)})
		}
	}
	for _, f := range flags {
		port, err := servicePort(tcp, f.service)
		if err != nil {
			return nil, usageError{fmt.Errorf("--port %s: %w", f, err)}
		}
		out = append(out, published{f.host, port})
	}
	return out, nil
}

// servicePort finds a port by number or name; an empty text means the only one.
func servicePort(tcp []corev1.ServicePort, text string) (int, error) {
	var known []string
	for _, p := range tcp {
		number := strconv.Itoa(int(p.Port))
		if text != "" && (text == number || text == p.Name) {
			return int(p.Port), nil
		}
		known = append(known, number)
	}
	if text == "" && len(tcp) == 1 {
		return int(tcp[0].Port), nil
	}
	if text == "" {
		return 0, fmt.Errorf("the Service has several TCP ports: use HOST:PORT with one of %s", strings.Join(known, ", "))
	}
	return 0, fmt.Errorf("the Service has no TCP port %q: it has %s", text, strings.Join(known, ", "))
}

// accept serves the connections of a listener until ctx is done, and closes it.
func (x *exposer) accept(ctx context.Context, l net.Listener, p published) {
	failed := func(err error) { fmt.Fprintf(x.Err, "port %d: %v\n", p.host, err) }
	_ = cluster.Accept(ctx, l, failed, func(ctx context.Context, client net.Conn) { x.serve(ctx, client.(*net.TCPConn), p) })
}

// serve connects one client to the load balancer.
func (x *exposer) serve(ctx context.Context, client *net.TCPConn, p published) {
	defer client.Close()
	dialing, cancel := context.WithTimeout(ctx, exposeTimeout)
	server, err := x.plane.DialBalancer(dialing, x.namespace, x.service, p.port)
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			fmt.Fprintf(x.Err, "port %d: %v\n", p.host, err)
		}
		_ = client.SetLinger(0) // reset the connection, as if the port were closed; without it the client sees an end of file
		return
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { copyHalf(server, client) })
	copyHalf(client, server)
	wg.Wait()
}

// copyHalf copies until from ends and then closes the writing side of to, so that the other direction can go on. After an
// error it closes both connections.
func copyHalf(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = to.Close()
		_ = from.Close()
	}
}
