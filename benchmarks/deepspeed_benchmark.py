"""Full fine-tuning over two CPU ranks against DeepSpeed's ZeRO-2: step time and peak memory, both sides alternately.

Both sides read the same DeepSpeed file and start from the same weights (the Llama that a RoPE Baichuan is, on the other
side) on the same micro-batches, every position labelled; the losses of all steps must agree or the run fails. DeepSpeed
gets gloo, PyTorch's AdamW and sdpa; its peak memory is counted from after loading, ours from the start.

usage: deepspeed_benchmark.py --baichuan tools/baichuan [--dtype fp32|bf16] [--pairs 5]      with the peers' Python
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile

from training_runs import (QUICKSTART, ROOT, TrainingRun, largest_difference, make_model, make_rows, parameters, run_sides,
                           spread)

sys.path.insert(0, str(ROOT / "tests" / "peers"))

import deepspeed_ranks  # noqa: E402
import sentencepiece  # noqa: E402

RANKS, END = 2, 2
LOSS_TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}  # relative; bf16 keeps 8 bits: both sides round differently


def batches_of_steps(rows, args):
    """[step][micro-batch], as the template `vanilla` makes rows and --disable_shuffling orders them."""
    tokenizer = sentencepiece.SentencePieceProcessor(str(QUICKSTART / "tokenizer.model"))
    ids = [tokenizer.encode(row["instruction"]) + tokenizer.encode(row["output"]) + [END] for row in rows]
    assert {len(row) for row in ids} == {args.length}, f"expected rows of {args.length} tokens; found {set(map(len, ids))}"
    batches = [dict(ids=ids[i:i + args.batch], labels=ids[i:i + args.batch]) for i in range(0, len(ids), args.batch)]
    return [batches[i:i + RANKS] for i in range(0, len(batches), RANKS)]


def train_ours(args, model, folder, file):
    run = TrainingRun(args, model, folder / "rows.json", "ours", steps=args.steps, ranks=RANKS, threads=args.threads,
                      flags=["--deepspeed", file, "--loss_normalization", "microbatch"]).finish()
    return dict(loss=run.losses, seconds=run.seconds(), memory=run.peak_memory_bytes)


def train_theirs(args, model, folder, file, steps):
    figures = deepspeed_ranks.train(folder, model, file, steps, RANKS, args.threads)
    return dict(loss=figures["loss"], seconds=statistics.median(figures["seconds"][1:]),
                memory=max(figures["peak_memory_bytes"]))


def compare(args, folder):
    model = make_model(args.baichuan, folder, args.dtype)
    rows = make_rows(args.baichuan, folder, model, RANKS * args.batch * args.steps, args.length)
    (folder / "rows.json").write_text(json.dumps(rows))
    steps = batches_of_steps(rows, args)
    file = folder / "deepspeed.json"
    deepspeed_ranks.write_config(file, dtype=args.dtype, batch=args.batch, learning_rate=1e-4)
    sides = dict(ours=lambda: train_ours(args, model, folder, file),
                 theirs=lambda: train_theirs(args, model, folder, file, steps))
    times, memory = [], []
    for pair in range(args.pairs):
        figures = run_sides(pair, sides)
        ours, theirs = figures["ours"], figures["theirs"]
        difference = largest_difference(ours["loss"], theirs["loss"])
        assert difference <= LOSS_TOLERANCE[args.dtype], f"losses differ by {difference:.1e}: {ours['loss']} {theirs['loss']}"
        times.append(theirs["seconds"] / ours["seconds"])
        memory.append(ours["memory"] / theirs["memory"])
        print(f"{args.dtype}, pair {pair + 1}: ours {ours['seconds']:.3f} s a step, {ours['memory'] / 1e9:.2f} GB a rank; "
              f"DeepSpeed {theirs['seconds']:.3f} s, {theirs['memory'] / 1e9:.2f} GB; losses of {args.steps} steps differ by "
              f"{difference:.1e}", flush=True)
    print(f"{args.dtype}, {parameters() / 1e6:.0f} M parameters, {RANKS} ranks, {args.batch} x {args.length} tokens a rank: "
          f"{spread(times, 2)} x DeepSpeed's speed, {spread(memory, 2)} x its peak memory", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baichuan", required=True)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], help="both unless given")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=7, help="of a run; the first is not counted")
    parser.add_argument("--batch", type=int, default=4, help="rows of a micro-batch, on each rank")
    parser.add_argument("--length", type=int, default=256, help="tokens of a row")
    parser.add_argument("--threads", type=int, default=1, help="of each rank")
    args = parser.parse_args()
    dtypes = [args.dtype] if args.dtype else ["fp32", "bf16"]
    for args.dtype in dtypes:
        with tempfile.TemporaryDirectory() as scratch:
            compare(args, pathlib.Path(scratch))


if __name__ == "__main__":
    main()
