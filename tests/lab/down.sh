#!/usr/bin/env bash
# Ends and removes what up.sh brought up.
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh
./slurm.sh down
./containers.sh down
rm -rf "$LAB"
