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
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/cluster"
)

func newExposeCmd(e *env) *cobra.Command {
	x := expose{env: e, namespace: metav1.NamespaceDefault}
	cmd := &cobra.Command{
		Use: "expose [svc/]NAME", Short: "Publish a load balancer on 127.0.0.1",
		Long: "Publish TCP ports of a Service of type LoadBalancer on 127.0.0.1, until Ctrl-C. Every connection goes to the\n" +
			"Service's load-balanced address, and so to whichever of its pods the Service chooses; to the pods it comes from\n" +
			"a node, not from your client. On Linux the address itself answers on this machine, with no need to publish it:\n" +
			"see EXTERNAL-IP in 'kl kubectl get services'.",
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
				return misuse(cmd, fmt.Errorf("say svc/NAME: %q is not a Service", args[0]))
			}
			x.service = name
			return x.run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&x.namespace, "namespace", "n", x.namespace, "namespace of the Service")
	cmd.Flags().StringArrayVar(&x.ports, "port", nil, "`HOST[:PORT]`: the port on 127.0.0.1, and the Service's port or its name (repeatable)")
	return cmd
}

// expose is one run of the command.
type expose struct {
	*env
	namespace, service string
	ports              []string // --port
}

// published is a port of this machine and the Service's port behind it.
type published struct{ host, port int }

func (x *expose) run(ctx context.Context) error {
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
		fmt.Fprintf(x.Out, "%s leads to port %d of svc/%s, by its load balancer address %s\n",
			listeners[i].Addr(), p.port, x.service, svc.Status.LoadBalancer.Ingress[0].IP)
		wg.Go(func() { x.accept(ctx, listeners[i], p) })
	}
	fmt.Fprintln(x.Err, "Ctrl-C ends it.")
	<-ctx.Done()
	return context.Cause(ctx)
}

func (x *expose) fail(op string, err error, hint string) error {
	return &cluster.Error{Op: op, Err: err, Hint: hint}
}

func listenHint(err error, p published) string {
	other := fmt.Sprintf("choose another one: --port %d:%d", 8000+p.host%1000, p.port)
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, os.ErrPermission) {
		return other
	}
	return ""
}

// find gets the Service, once it has an address.
func (x *expose) find(ctx context.Context) (*corev1.Service, error) {
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
		return nil, err
	}
	op := "expose svc/" + x.service
	kubectl := "kl kubectl -n " + x.namespace
	svc, err := client.CoreV1().Services(x.namespace).Get(ctx, x.service, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, x.fail(op, fmt.Errorf("namespace %s has no such Service", x.namespace), "'kl kubectl get services -A' shows them all; -n chooses the namespace")
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, x.fail(op, err, "is the cluster up? 'kl status' tells")
	case svc.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return nil, x.fail(op, fmt.Errorf("it is of type %s and has no load balancer", svc.Spec.Type),
			fmt.Sprintf("use '%s port-forward svc/%s', or make it one: %s patch svc %s -p '{\"spec\":{\"type\":\"LoadBalancer\"}}'", kubectl, x.service, kubectl, x.service))
	case len(svc.Status.LoadBalancer.Ingress) == 0:
		return nil, x.fail(op, errors.New("it has no address yet"), fmt.Sprintf("'%s describe svc %s' tells why", kubectl, x.service))
	}
	return svc, nil
}

// exposeTimeout is how long the API, and later a connection to the load balancer, may take.
const exposeTimeout = 10 * time.Second

// choosePorts reads --port; without any, every TCP port is published under its own number.
func choosePorts(svc *corev1.Service, flags []string) ([]published, error) {
	var tcp []corev1.ServicePort
	for _, p := range svc.Spec.Ports {
		if p.Protocol == corev1.ProtocolTCP || p.Protocol == "" {
			tcp = append(tcp, p)
		}
	}
	if len(tcp) == 0 {
		return nil, &cluster.Error{Op: "expose svc/" + svc.Name, Err: errors.New("it has no TCP port, and only TCP can be published")}
	}
	var out []published
	if len(flags) == 0 {
		for _, p := range tcp {
			out = append(out, published{int(p.Port), int(p.Port)})
		}
	}
	for _, f := range flags {
		left, right, both := strings.Cut(f, ":")
		host, err := strconv.Atoi(left)
		if err != nil || host < 1 || host > 65535 {
			return nil, usageError{fmt.Errorf("--port %s: %q is not a port from 1 to 65535", f, left)}
		}
		port, err := servicePort(tcp, right, both)
		if err != nil {
			return nil, usageError{fmt.Errorf("--port %s: %w", f, err)}
		}
		out = append(out, published{host, port})
	}
	return out, nil
}

// servicePort finds a port by number or name; unsaid it is the only one.
func servicePort(tcp []corev1.ServicePort, text string, said bool) (int, error) {
	var known []string
	for _, p := range tcp {
		number := strconv.Itoa(int(p.Port))
		if said && (text == number || text == p.Name) {
			return int(p.Port), nil
		}
		known = append(known, number)
	}
	if !said && len(tcp) == 1 {
		return int(tcp[0].Port), nil
	}
	if !said {
		return 0, fmt.Errorf("the Service has several TCP ports: say HOST:PORT with one of %s", strings.Join(known, ", "))
	}
	return 0, fmt.Errorf("the Service has no TCP port %q: it has %s", text, strings.Join(known, ", "))
}

// accept serves a listener until ctx is done.
func (x *expose) accept(ctx context.Context, l net.Listener, p published) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		client, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(10 * time.Millisecond): // out of descriptors: others may do better
			}
			continue
		}
		wg.Go(func() { x.serve(ctx, client.(*net.TCPConn), p) })
	}
}

// serve is one connection.
func (x *expose) serve(ctx context.Context, client *net.TCPConn, p published) {
	defer client.Close()
	dialing, cancel := context.WithTimeout(ctx, exposeTimeout)
	server, err := cluster.DialBalancer(dialing, x.layout(), x.namespace, x.service, p.port)
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			fmt.Fprintf(x.Err, "port %d: %v\n", p.host, err)
		}
		_ = client.SetLinger(0) // the client sees a reset, as if nothing listened
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

// copyHalf copies until from ends, and passes the end on.
func copyHalf(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = to.Close()
		_ = from.Close()
	}
}
