#!/bin/sh
# Copy programs ($2 ...) with the libraries that they load into the folder $1.
set -eu
target=$1
shift
for program; do
  for file in "$program" $(ldd "$program" | grep -o '/[^ ]*'); do
    mkdir -p "$target$(dirname "$file")"
    cp -L "$file" "$target$file"
  done
done
