"""What dividing parameters among ranks costs, both sides alternately in one run, after the losses have been compared.

  alone     one rank through the divided path (--deterministic_reduce --zero_stage 2) against the plain one: the ratio of
            their step times, wanted at most 1.02
  together  two ranks (ZeRO 2, one thread each) against two runs of one rank side by side (one thread each, the same rows a
            rank) plus the bytes that the ranks exchange over the loopback's bandwidth: the ratio, wanted at most 1.10

Full fine-tuning of a 7B-shaped model of 60 M parameters with random weights (training_runs.py).

usage: ranks_benchmark.py --baichuan tools/baichuan [--part alone|together] [--dtype fp32|bf16] [--pairs 10]
"""

import argparse
import json
import os
import pathlib
import tempfile

import loopback
from training_runs import (SHAPE, TrainingRun, largest_difference, make_model, make_rows, parameters, run_sides, spread,
                           value_bytes)

# Of the losses, relative. One rank computes the same either way; the order of sums differs, and bf16 keeps 8 bits.
LOSS_TOLERANCE = {"fp32": 1e-5, "bf16": 5e-3}
WANTED = dict(alone=1.02, together=1.10)
DIVIDED = ["--deterministic_reduce", "--zero_stage", "2"]


def write_rows(path, rows):
    path.write_text(json.dumps(rows))
    return path


def require_same(what, ours, theirs, dtype):
    difference = largest_difference(ours, theirs)
    assert difference <= LOSS_TOLERANCE[dtype], f"{what}: losses differ by {difference:.1e} of their value"
    return difference


def measure_alone(args, folder, model, rows):
    """Ratios of step times, one a pair."""
    path = write_rows(folder / "alone.json", rows[:args.batch * args.steps])

    def train(name, flags):
        return TrainingRun(args, model, path, name, steps=args.steps, threads=args.threads, flags=flags).finish()

    sides = dict(plain=lambda: train("plain", []), divided=lambda: train("divided", DIVIDED))
    ratios = []
    for pair in range(args.pairs):
        runs = run_sides(pair, sides)
        plain, divided = runs["plain"], runs["divided"]
        difference = require_same("one rank, plain and divided", divided.losses, plain.losses, args.dtype)
        ratios.append(divided.seconds() / plain.seconds())
        print(f"alone, {args.dtype}, pair {pair + 1}: divided {divided.seconds():.3f} s a step, "
              f"{divided.peak_memory_bytes / 1e9:.2f} GB; plain {plain.seconds():.3f} s, {plain.peak_memory_bytes / 1e9:.2f} GB; "
              f"ratio {ratios[-1]:.3f}; losses differ by {difference:.1e}", flush=True)
    return ratios


def rows_of_rank(rows, rank, batch):
    """Micro-batch i of a step goes to rank i mod 2."""
    return [row for i, row in enumerate(rows) if i // batch % 2 == rank]


def exchanged_bytes(dtype):
    """What a rank of two sends in a step, and receives: half of all gradients, then half of all weights."""
    return parameters() * 2 * value_bytes(dtype) // 2


def check_together(args, model, path):
    """Two ranks compute what one does with twice the accumulation."""
    steps = min(args.steps, 4)
    two = TrainingRun(args, model, path, "checked", steps=steps, ranks=2).finish()
    one = TrainingRun(args, model, path, "checked", steps=steps, accumulation=2).finish()
    difference = require_same("two ranks and one", two.losses, one.losses, args.dtype)
    print(f"together, {args.dtype}: losses of two ranks and of one differ by {difference:.1e} in {steps} steps", flush=True)


def run_side_by_side(args, model, halves):
    runs = [TrainingRun(args, model, half, f"single{r}", steps=args.steps) for r, half in enumerate(halves)]
    return [run.finish() for run in runs]


def measure_together(args, folder, model, rows):
    """Ratios of step times with the bytes' time on the other side, and without it; one a pair."""
    path = write_rows(folder / "together.json", rows)
    # Apart, so that neither waits for the other's cache of tokenised rows.
    halves = [write_rows(folder / f"half{rank}.json", rows_of_rank(rows, rank, args.batch)) for rank in range(2)]
    check_together(args, model, path)
    runs = dict(single=lambda: run_side_by_side(args, model, halves),
                two=lambda: TrainingRun(args, model, path, "two", steps=args.steps, ranks=2).finish())
    ratios, bare = [], []
    message = parameters() // SHAPE["num_hidden_layers"] * value_bytes(args.dtype) // 2  # about a layer's
    for pair in range(args.pairs):
        bandwidth = loopback.bytes_per_second(message)
        sides = run_sides(pair, runs)
        two, singles = sides["two"], sides["single"]
        require_same("first step of two ranks and of both runs", two.losses[:1],
                     [sum(run.losses[0] for run in singles) / 2], args.dtype)
        apart = sum(run.seconds() for run in singles) / 2
        wire = exchanged_bytes(args.dtype) / bandwidth
        ratios.append(two.seconds() / (apart + wire))
        bare.append(two.seconds() / apart)
        print(f"together, {args.dtype}, pair {pair + 1}: two ranks {two.seconds():.3f} s a step, "
              f"{two.peak_memory_bytes / 1e9:.2f} GB a rank; side by side {apart:.3f} s, "
              f"{singles[0].peak_memory_bytes / 1e9:.2f} GB; {exchanged_bytes(args.dtype) / 1e6:.0f} MB each way at "
              f"{bandwidth / 1e9:.2f} GB/s {wire:.3f} s; ratio {ratios[-1]:.3f}, without the bytes {bare[-1]:.3f}", flush=True)
    return ratios, bare


def report(part, args, ratios, more=""):
    print(f"{part}, {args.dtype}, {args.batch} x {args.length} tokens a rank: {spread(ratios)} x the time over "
          f"{len(ratios)} pairs, wanted at most {WANTED[part]:.2f}{more}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baichuan", required=True)
    parser.add_argument("--part", choices=["alone", "together"], help="both unless given")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], help="both unless given")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=7, help="of a run; the first is not counted")
    parser.add_argument("--batch", type=int, default=8, help="rows of a micro-batch, on each rank")
    parser.add_argument("--length", type=int, default=256, help="tokens of a row")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the one rank of `alone`")
    args = parser.parse_args()
    dtypes = [args.dtype] if args.dtype else ["fp32", "bf16"]
    for args.dtype in dtypes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            model = make_model(args.baichuan, folder, args.dtype)
            rows = make_rows(args.baichuan, folder, model, 2 * args.batch * args.steps, args.length)
            if args.part != "together":
                report("alone", args, measure_alone(args, folder, model, rows))
            if args.part != "alone":
                ratios, bare = measure_together(args, folder, model, rows)
                report("together", args, ratios, f"; without the bytes {spread(bare)}")


if __name__ == "__main__":
    main()
