// Package driver is the node's half of kl's storage: volumes are directories or files, and pods get them through CSI. [Server] serves
// the kubelet's CSI calls, and its Handler the control plane's requests; [Store] keeps the volumes of one kind.
//
// A volume is a directory <store>/<ID> with volume.json and data, which is what pods see; for volumeMode Block, with the file
// block.img, which is attached to a loop device while a pod uses it: see package loop. The directory is created under another name and
// renamed, and renamed again before it is deleted, so that a crash leaves no volume half made.
package driver
