#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The NEON kernels where they run: cross-compiles kernels, model and their unit tests for 64-bit ARM (CMakeLists.txt here) and
# runs them under qemu's user emulation: every kernel against its reference, and the zero gap between actor and learner.
# Skipped on such a machine itself, where the ordinary tests do it, and without compiler or emulator (deploy/packages.txt).
# usage: run.sh BUILD_DIR
build=${1:?usage: tests/aarch64/run.sh BUILD_DIR}/aarch64 here=$(cd "$(dirname "$0")" && pwd)
skip() { echo "aarch64: $*, skipped"; exit 77; }
[ "$(uname -m)" != aarch64 ] || skip 'this machine is one: the ordinary tests run its kernels'
compiler=$(command -v aarch64-linux-gnu-gcc) || skip 'aarch64-linux-gnu-gcc is not installed (deploy/packages.txt)'
emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || skip 'qemu-aarch64-static is not installed (deploy/packages.txt)'
libc=$("$compiler" -print-file-name=libc.so.6)
blas=$(pkg-config --cflags-only-I openblas | sed 's/-I//; s/ .*//')

quiet() { "$@" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }; }
quiet cmake -S "$here" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_C_COMPILER="$compiler" -DCMAKE_CROSSCOMPILING_EMULATOR="$emulator;-L;$(cd "${libc%/*}/.." && pwd)" -DAGRL_BLAS_INCLUDE="$blas"
quiet ninja -C "$build"
exec ctest --test-dir "$build" -j 2 --output-on-failure
