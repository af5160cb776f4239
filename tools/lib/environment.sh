# shellcheck shell=bash
# Where things are and how the scripts speak. Sourced by the scripts in tools/, never run by itself.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Everything that is downloaded lies here: LibTorch, the peers' Python environment.
deps=${BAICHUAN_DEPS:-$root/.deps}
# Read by the scripts that source this file.
# shellcheck disable=SC2034
torch_home=$deps/torch-2.11.0

say() { printf '%s\n' "$*" >&2; }

# fail STATUS "what was expected; what was found; what to do"
fail() {
  local status=$1
  shift
  printf 'error: %s\n' "$*" >&2
  exit "$status"
}

# usage FILE: the comment block at the head of a script, without the marks.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$1"; }

find_nvcc() {
  local candidate
  for candidate in "${CUDACXX:-}" "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    if [[ -n $candidate && -x $candidate ]]; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

# Does an NVIDIA driver run here?
has_gpu_driver() { [[ -e /proc/driver/nvidia/version ]]; }

# Compilations side by side: one a core, but 2 GB of memory for each.
job_count() {
  local memory_kb cores
  memory_kb=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
  cores=$(nproc)
  local by_memory=$((memory_kb / 2000000))
  if ((by_memory < 1)); then by_memory=1; fi
  echo $((cores < by_memory ? cores : by_memory))
}

free_megabytes() {
  local folder=$1
  while [[ ! -d $folder ]]; do folder=$(dirname "$folder"); done
  df --output=avail -BM "$folder" | awk 'NR == 2 { sub("M", "", $1); print $1 }'
}

# 125 -> "2 min 5 s"
duration() {
  local seconds=$1
  if ((seconds < 60)); then echo "$seconds s"; else echo "$((seconds / 60)) min $((seconds % 60)) s"; fi
}
