#!/usr/bin/env bash
# Lints the protos and checks that they break no client of the newest tag or, while there is none, of `main`.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
.venv/bin/python libs/protos/generate.py --image "$scratch/now.binpb"
.venv/bin/buf lint "$scratch/now.binpb" --config buf.yaml
base=$(git describe --tags --abbrev=0 2>/dev/null || git rev-parse -q --verify main || git rev-parse -q --verify origin/main || git rev-parse HEAD)
mkdir "$scratch/before"
git archive "$base" protos | tar -x -C "$scratch/before"
.venv/bin/python libs/protos/generate.py --protos "$scratch/before/protos" --image "$scratch/before.binpb"
.venv/bin/buf breaking "$scratch/now.binpb" --against "$scratch/before.binpb" --config buf.yaml
echo "protos: lint and compatibility with ${base:0:12} are clean"
