package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNameNodes(t *testing.T) {
	tests := []struct {
		name   string
		groups []NodeGroup
		want   [][]string
	}{
		{"one group", []NodeGroup{{Count: 3}}, [][]string{{"n1", "n2", "n3"}}},
		{"through groups", []NodeGroup{{Count: 1}, {Count: 2}}, [][]string{{"n1"}, {"n2", "n3"}}},
		{"given names stay", []NodeGroup{{Count: 2, Names: []string{"web"}}, {Count: 1}}, [][]string{{"web", "n1"}, {"n2"}}},
		{"a later group's name is not given away", []NodeGroup{{Count: 2}, {Count: 1, Names: []string{"n2"}}}, [][]string{{"n1", "n3"}, {"n2"}}},
		{"holes are filled", []NodeGroup{{Count: 3, Names: []string{"n1", "n3"}}}, [][]string{{"n1", "n3", "n2"}}},
		{"simulated nodes have none", []NodeGroup{{Count: 9, Simulated: true}, {Count: 1}}, [][]string{nil, {"n1"}}},
		{"fewer nodes drop the last names", []NodeGroup{{Count: 1, Names: []string{"a", "b"}}}, [][]string{{"a"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Spec{Nodes: tt.groups}
			for range 2 { // naming again changes nothing
				s.NameNodes()
				var got [][]string
				for _, g := range s.Nodes {
					got = append(got, g.Names)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Fatalf("names (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// A port is for this machine alone unless its address says otherwise.
func TestHostAddress(t *testing.T) {
	for _, tt := range []struct {
		port Port
		want string
	}{
		{Port{Host: 80, Node: 30080}, "127.0.0.1:80"},
		{Port{Host: 80, Node: 30080, Address: "0.0.0.0"}, "0.0.0.0:80"},
		{Port{Host: 80, Node: 30080, Address: "::1"}, "[::1]:80"},
	} {
		if got := tt.port.HostAddress(); got != tt.want {
			t.Errorf("%+v is published at %s, want %s", tt.port, got, tt.want)
		}
	}
}
