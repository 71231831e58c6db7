// Package tour runs scenarios: scripts of commands and expectations that show a capability of Kubernetes on a real cluster.
//
// A scenario is a directory with a file scenario.yaml and the manifests it applies:
//
//	title: A connection that no policy allows is dropped   # one line, shown in lists
//	feature: NetworkPolicy is stable (1.7)                 # what of Kubernetes 1.7 it shows, and its form today
//	needs: {nodes: 2, kl: true}                            # what the cluster must have; see Needs
//	namespaces: [attic]                                    # besides ${NS}, makes ${NS}-attic
//	alone: true                                            # may disturb others: nothing else runs meanwhile
//	steps:
//	- say: A server, and a client beside it.               # narration: what is done, and why
//	  run: kubectl apply -f server.yaml                    # a shell command
//	- run: kubectl -n ${NS} exec client -- get http://server
//	  prints: server answers                               # a text, or a list: each is in the output
//	  matches: answers \d+                                 # a regular expression that the output matches
//	  lacks: refused                                       # a text, or a list: none is in the output
//	  fails: true                                          # the command must fail
//	  within: 30s                                          # again until all of this holds, for at most that long
//	  holds: 3s                                            # once it holds, it keeps holding for that long
//	  save: POD                                            # keeps the output as ${POD} for what comes later
//	  timeout: 5m                                          # of the command itself; 2m by default
//	cleanup:                                               # removes what is in none of the namespaces; may find nothing
//	- kubectl delete clusterrole tour-reader
//
// ${NAME} is replaced before a command is printed or run, and in all files of the directory, so that what is printed can be
// typed. Besides what steps save there are NS, the namespace; CLUSTER, the cluster's name; IMAGE, COMMAND, MOUNTS and VOLUMES,
// which a container and its pod need to run the tour's programs; MOUNT and VOLUME, the items of these two lists, for a pod with
// volumes of its own, as in "volumes: [{name: data, emptyDir: {}}, ${VOLUME}]"; and TLS_CA, TLS_CERT and TLS_KEY in base64, a
// certificate for all Services of ${NS} and its authority. $NAME without braces is the shell's.
//
// The scenarios that kl carries are in testdata/tour.
package tour
