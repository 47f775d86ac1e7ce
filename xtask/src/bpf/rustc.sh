#!/bin/sh
# Cargo's RUSTC_WRAPPER for the BPF object: runs the compiler, with one argument changed.
#
# Cargo's hash for a crate outside the workspace, as gateway-common is for gateway-ebpf, has the
# crate's absolute path in it. Through -C metadata it gets into mangled names, and those into BTF:
# another checkout would make other bytes. Our two crates need no hash to be told apart.
case " $* " in
*" --crate-name gateway_common "* | *" --crate-name turnpike "*) ;;
*) exec "$@" ;;
esac
for argument; do
    shift
    case $argument in
    metadata=*) argument=metadata=turnpike ;;
    esac
    set -- "$@" "$argument"
done
exec "$@"
