#!/bin/sh
# Debian builds busybox's wget without a time limit, and its -T ends in a segmentation fault.
for a; do
	case $a in
	-T* | -[cqS]T* | -[cqS][cqS]T*)
		echo "wget: there is no -T here: use 'timeout SECONDS wget ...'" >&2
		exit 2
		;;
	--) break ;;
	esac
done
exec busybox wget "$@"
