//go:build e2e

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/klkube/kl/cluster"
)

// balancerOf returns the load balancer of a Service.
func balancerOf(layout cluster.Layout, namespace, name string) (cluster.LoadBalancer, error) {
	client := cluster.NewClient(layout)
	defer client.Close()
	resp, err := client.Do(context.Background(), http.MethodGet, "/v1/balancers", nil)
	if err != nil {
		return cluster.LoadBalancer{}, err
	}
	defer resp.Body.Close()
	var list []cluster.LoadBalancer
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return cluster.LoadBalancer{}, err
	}
	for _, b := range list {
		if b.Namespace == namespace && b.Name == name {
			return b, nil
		}
	}
	return cluster.LoadBalancer{}, fmt.Errorf("no load balancer of %s/%s in %v", namespace, name, list)
}

// balancerCommand is "balancer SERVICE": waits until a node holds the load balancer's address, then sets $ADDRESS to it,
// $HOLDER to the node and $HOST to the host's address on that network.
func balancerCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: balancer SERVICE")
	}
	layout := cluster.Home(ts.Getenv("KL_HOME")).Cluster(ts.Getenv("CLUSTER"))
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		b, err := balancerOf(layout, ts.Getenv("NS"), args[0])
		if err == nil && b.Node != "" {
			ts.Setenv("ADDRESS", b.Address)
			ts.Setenv("HOLDER", b.Node)
			host := net.ParseIP(b.Address).To4()
			host[3] = 1
			ts.Setenv("HOST", host.String())
			return
		}
		if time.Since(began) > 20*time.Second {
			ts.Fatalf("no node holds the address of %s: %+v, %v", args[0], b, err)
		}
	}
}

// outageCommand is "outage LIMIT URL PROGRAM ARGS…": runs a program while it requests the URL all the time. It fails if
// there is no answer for longer than LIMIT, until LIMIT and a second after the program's end.
func outageCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: outage LIMIT URL PROGRAM ARGS…")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watched := make(chan time.Duration, 1)
	go func() { watched <- longestOutage(ctx, args[1]) }()
	time.Sleep(300 * time.Millisecond) // for the first answers
	ts.Check(ts.Exec(args[2], args[3:]...))
	time.Sleep(limit + time.Second)
	cancel()
	longest := <-watched
	ts.Logf("longest outage: %.2f s", longest.Seconds())
	if longest > limit {
		ts.Fatalf("no answer for %.2f s, which is longer than %s", longest.Seconds(), limit)
	}
}

// longestOutage requests a URL until ctx is done, each time over a new connection, and returns the longest time between
// two answers.
func longestOutage(ctx context.Context, url string) time.Duration {
	client := &http.Client{Timeout: 200 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	last, longest := time.Now(), time.Duration(0)
	for {
		if resp, err := client.Get(url); err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				longest, last = max(longest, time.Since(last)), time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return max(longest, time.Since(last))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
