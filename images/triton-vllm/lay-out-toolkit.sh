#!/bin/sh
# Makes of the CUDA toolkit's parts that the nvidia-* packages hold one that compilers and linkers find, at TARGET (CUDA_HOME).
# The packages lack the names that a linker asks for, and the driver's library is the node's: a stand-in with its names
# lets libraries link where there is no driver.
# usage: lay-out-toolkit.sh SITE_PACKAGES TARGET
set -eu
toolkit=$(echo "$1"/nvidia/cu[0-9]*) target=$2
ln -sfn lib "$toolkit/lib64"
for library in "$toolkit"/lib/lib*.so.*; do
  name=${library##*/}
  ln -sf "$name" "$toolkit/lib/${name%%.so.*}.so"
done
mkdir -p "$toolkit/lib/stubs"
# 34 is CUDA_ERROR_STUB_LIBRARY.
grep -oE '\bcu[A-Z][A-Za-z0-9_]*' "$toolkit/include/cuda.h" | sort -u | sed 's/.*/int &(void) { return 34; }/' \
 | gcc -x c -w -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$toolkit/lib/stubs/libcuda.so" -
ln -sfn "$toolkit" "$target"
"$target/bin/nvcc" --version
