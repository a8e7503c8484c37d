#!/bin/sh
# Copies Triton's server out of the nvidia-pytriton package into the layout of NVIDIA's own image:
#   TARGET/bin/tritonserver, TARGET/lib, TARGET/backends/python (with the stub of this Python version).
# usage: lay-out-server.sh SITE_PACKAGES PYTHON_VERSION TARGET
set -eu
packages=$1 version=$2 target=$3
server=$packages/pytriton/tritonserver
rm -rf "$target"
mkdir -p "$target/bin" "$target/backends/python"
cp "$server/bin/tritonserver" "$target/bin/"
cp -r "$server/backends/python/." "$target/backends/python/"
cp "$server/python_backend_stubs/$version/triton_python_backend_stub" "$target/backends/python/"
chmod 0755 "$target/bin/tritonserver" "$target/backends/python/triton_python_backend_stub"
# Only the libraries that these three binaries ask for are looked up here, by file name.
cp -r "$packages/nvidia_pytriton.libs" "$target/lib"
