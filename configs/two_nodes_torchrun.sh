#!/usr/bin/env bash
# Full fine-tuning on two machines with 8 GPUs each, started by torchrun. Run on both machines, with the first one's
# address, and with --output_dir on a file system that both see:
#
#   MASTER_ADDR=10.0.0.1 NODE_RANK=0 configs/two_nodes_torchrun.sh      # on the first
#   MASTER_ADDR=10.0.0.1 NODE_RANK=1 configs/two_nodes_torchrun.sh      # on the second
#
# Half the accumulation of the recipe for one machine: a step stays 256 rows.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec torchrun --nnodes 2 --node_rank "${NODE_RANK:?}" --nproc_per_node 8 \
  --master_addr "${MASTER_ADDR:?}" --master_port "${MASTER_PORT:-29500}" --no-python \
  "$here/../tools/baichuan" train "$here/full_13b_8gpu.json" --num_gpus 8 --gradient_accumulation_steps 4 "$@"
