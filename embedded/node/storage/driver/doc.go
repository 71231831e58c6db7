// Package driver is the node's half of kl's storage: volumes are directories or files, and pods get them through CSI. [Server] serves
// the kubelet's CSI calls, and its Handler the control plane's requests; [Store] keeps the volumes of one kind.
//
// A volume is a directory <store>/<ID> with volume.json and data, which is what pods see; for volumeMode Block, with the file
// block.img, which is attached to a loop device while a pod uses it: see package loop. A snapshot is such a directory,
// <store>/.snapshots/<ID>, whose data nobody changes; a clone is a volume. Package clone copies the data. Directories are created under another name,
// which is locked, and renamed when all of the data is on disk, and renamed again before they are deleted, so that a crash leaves neither volume
// nor snapshot half made. The next start removes what it left.
package driver
