#!/usr/bin/env python3
"""How many bytes a rank sends and receives in an optimiser step, by the kernel's own count, against what ZeRO needs.

P parameters in bfloat16, N ranks, G micro-batches a step. A rank gives its gradients to the others as often as they
are reduced and its share of the weights once, each time 2 P (N-1)/N bytes: G+1 times that in stage 2, twice in stage 1,
which reduces once a step. (A stage 2 that reduces by all-reduce, as DeepSpeed's default does, needs 2G+1.)

Every rank is a machine of its own, so that its interface counts its bytes alone: over one loopback only the mean of all
ranks could be seen, and not that one of them, say a hub, carries the others' share. What start and end of a run take
falls out of the difference between a longer and a shorter run.

usage: wire_bytes_test.py BAICHUAN      exit status 0 when all are within 5 %, 77 where there are no network namespaces
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import small_run
from machines import INTERFACE, Network, NoNamespaces

TOLERANCE = 0.05
STEPS = (1, 4)  # of the shorter and of the longer run
SHAPE = {**small_run.SHAPE, "hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4}
CASES = [dict(ranks=ranks, stage=2, accumulation=accumulation) for ranks in (2, 4) for accumulation in (1, 2, 4)]
CASES += [dict(ranks=2, stage=1, accumulation=4), dict(ranks=4, stage=1, accumulation=2)]


def parameters():
    size, inner = SHAPE["hidden_size"], SHAPE["intermediate_size"]
    layer = 4 * size * size + 3 * size * inner + 2 * size
    return 2 * SHAPE["vocab_size"] * size + SHAPE["num_hidden_layers"] * layer + size


def train(binary, folder, machines, stage, accumulation, steps):
    """One rank on each machine, to the end of the run."""
    command = [binary, "train", "--stage", "sft", "--do_train", "--model_name_or_path", folder / "model",
               "--dataset", folder / "rows.json", "--dataset_cache_dir", folder / "cache", "--template", "vanilla",
               "--finetuning_type", "full", "--bf16", "--zero_stage", stage, "--device", "cpu",
               "--per_device_train_batch_size", 1, "--gradient_accumulation_steps", accumulation, "--max_steps", steps,
               "--save_strategy", "no", "--report_to", "none", "--log_level", "warning",
               "--output_dir", folder / "out"]
    started = []
    for rank, machine in enumerate(machines):
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(len(machines)), "LOCAL_RANK": "0",
                       "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": machines[0].address, "MASTER_PORT": "29500",
                       "GLOO_SOCKET_IFNAME": INTERFACE, "OMP_NUM_THREADS": "1"}
        started.append(machine.start(command, env=environment, stderr=subprocess.PIPE, text=True))
    words = [process.communicate(timeout=120)[1] for process in started]
    for rank, process in enumerate(started):
        if process.returncode != 0:
            sys.exit(f"rank {rank} of {len(started)} ended with {process.returncode}:\n{words[rank]}")


def bytes_of_a_step(binary, folder, machines, stage, accumulation):
    """[(received, sent)] of each rank."""
    runs = []
    for steps in STEPS:
        before = [machine.counters() for machine in machines]
        train(binary, folder, machines, stage, accumulation, steps)
        runs.append([[now - then for now, then in zip(machine.counters(), start)]
                     for machine, start in zip(machines, before)])
    return [[(longer - shorter) / (STEPS[1] - STEPS[0]) for shorter, longer in zip(*pair)] for pair in zip(*runs)]


def measure(binary, folder, machines, ranks, stage, accumulation):
    """Prints a row of the table; true when every rank's bytes are as expected."""
    once = 2 * parameters() * (ranks - 1) / ranks
    expected = once * ((accumulation if stage == 2 else 1) + 1)
    found = bytes_of_a_step(binary, folder, machines[:ranks], stage, accumulation)
    received, sent = zip(*found)
    off = max((bytes - expected for bytes in (*received, *sent)), key=abs) / expected
    good = abs(off) <= TOLERANCE
    print(f"{ranks:>5}{stage:>7}{accumulation:>4}{expected / 1e6:>12.2f}{min(sent) / 1e6:>12.2f}{max(sent) / 1e6:>9.2f}"
          f"{min(received) / 1e6:>12.2f}{max(received) / 1e6:>9.2f}{100 * off:>+9.2f} %{'' if good else '   WRONG'}",
          flush=True)
    return good


def main():
    binary = os.path.abspath(sys.argv[1])
    try:
        network = Network(max(case["ranks"] for case in CASES))
    except NoNamespaces as reason:
        print(reason)
        return 77
    with network, tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        small_run.prepare(binary, folder, "bf16", SHAPE)
        print(f"{parameters()} parameters in bfloat16; megabytes per rank and step; G: micro-batches a step")
        print("ranks  stage   G    expected    sent, least to most  received, least to most  farthest")
        good = [measure(binary, folder, network.machines, **case) for case in CASES]
    print(f"{good.count(False)} of {len(good)} wrong")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
