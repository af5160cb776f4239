#!/usr/bin/env python3
"""What `baichuan plan` says a training step takes against what it takes: peak anonymous memory, on the CPU.

    benchmarks/plan_benchmark.py PROGRAM [--limit 0.10] [--keep FOLDER] [--only one|several]

PROGRAM is the built baichuan. Two models of 80 million parameters (a deep one, and one with Baichuan's vocabulary) are
made by `init`. Cases of one process run three steps of `bench train`; cases of several ranks run three steps of `train`
on rows that fill --cutoff_len. Meanwhile the kernel's RssAnon is read every 4 ms, of ranks the largest one's. Prints a
row a case and ends with 1 when a plan is off by more than --limit.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
DEEP = {"hidden_size": 640, "intermediate_size": 1728, "num_hidden_layers": 12, "vocab_size": 16000}
WIDE = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4, "vocab_size": 64000, "num_attention_heads": 4}
# model, what is trained, rows, tokens of a row, recomputed layers, more flags
CASES = [
    ("deep", "full", 2, 512, 0, []),
    ("deep", "full", 1, 256, 0, []),
    ("deep", "full", 2, 512, 0, ["--bf16"]),
    ("deep", "full", 8, 256, 0, ["--bf16"]),
    ("deep", "full", 4, 512, 6, ["--bf16"]),
    ("deep", "full", 4, 512, 12, ["--bf16"]),
    ("deep", "lora", 4, 512, 0, []),
    ("deep", "lora", 4, 512, 0, ["--bf16"]),
    ("deep", "lora", 1, 1024, 4, []),
    ("deep", "lora", 4, 512, 6, ["--bf16", "--lora_target", "all"]),
    ("wide", "full", 1, 128, 0, []),
    ("wide", "full", 1, 1024, 4, []),
    ("wide", "full", 2, 512, 0, ["--bf16"]),
    ("wide", "full", 1, 2048, 0, ["--bf16"]),
    ("wide", "lora", 2, 512, 0, ["--bf16", "--lora_target", "W_pack,o_proj"]),
]
# model, what is trained, ranks, stage, rows, tokens, micro-batches of a step, recomputed layers, more flags
RANK_CASES = [
    ("deep", "full", 2, 2, 2, 512, 1, 0, ["--bf16"]),
    ("deep", "full", 2, 2, 2, 512, 2, 0, ["--bf16"]),
    ("deep", "full", 4, 2, 1, 512, 1, 6, ["--bf16"]),
    ("deep", "full", 2, 1, 2, 256, 2, 0, ["--bf16"]),
    ("deep", "full", 2, 0, 2, 256, 2, 0, ["--bf16"]),
    ("deep", "full", 2, 0, 2, 256, 2, 0, ["--bf16", "--deterministic_reduce"]),
    ("deep", "full", 2, 2, 2, 512, 1, 12, []),
    ("deep", "full", 2, 1, 1, 512, 1, 0, []),
    ("wide", "full", 2, 2, 2, 512, 2, 0, ["--bf16"]),
    ("wide", "full", 2, 2, 1, 1024, 1, 4, []),
    ("deep", "lora", 2, 0, 4, 512, 1, 0, ["--bf16"]),
]


def make_model(program, shape, folder):
    config = json.loads((SOURCE / "configs/quickstart/model.json").read_text())
    config.update(shape, model_max_length=4096)
    file = folder.with_suffix(".json")
    file.write_text(json.dumps(config))
    tokenizer = SOURCE / "configs/quickstart/tokenizer.model"
    command = [program, "init", "--config", file, "--tokenizer", tokenizer, "--output_dir", folder, "--log_level", "error"]
    subprocess.run(command, check=True)


def anonymous_bytes(process):
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:  # it has just ended
        return 0
    found = re.search(r"RssAnon:\s+(\d+)", status)
    return int(found[1]) * 1024 if found else 0


def peak_anonymous_bytes(command, environment=None):
    """Of the process, or of the largest of the ranks that it starts."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment and os.environ | environment
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    peak = 0
    while process.poll() is None:
        for each in [process.pid, *children.read_text().split()]:
            peak = max(peak, anonymous_bytes(each))
        time.sleep(0.004)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {process.stderr.read()}")
    return peak


def planned_bytes(program, flags):
    command = [program, "plan", "--log_level", "error", "--json", *flags]
    plan = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(plan.stdout)["memory"]["total_bytes"]


def one_process(program, folder):
    """(what, planned, measured) of every case."""
    for model, trained, rows, tokens, recomputed, more in CASES:
        flags = ["--model_name_or_path", folder / model, "--finetuning_type", trained, "--device", "cpu"]
        flags += ["--per_device_train_batch_size", rows, "--cutoff_len", tokens, "--recompute_layers", recomputed]
        flags = [str(flag) for flag in flags + more]
        steps = ["--steps", "2", "--discarded_steps", "1", "--json"]
        measured = peak_anonymous_bytes([program, "bench", "train", *steps, *flags])
        what = f"{model} {trained} 1 rank, {rows} x {tokens}, {recomputed} recomputed {' '.join(more)}"
        yield what, planned_bytes(program, flags), measured


def write_long_rows(file, count):
    """Rows that every cutoff_len of the cases cuts."""
    rows = [{"instruction": f"Count from {i}.", "output": " ".join(str(i + k) for k in range(2500))} for i in range(count)]
    file.write_text(json.dumps(rows))


def several_ranks(program, folder):
    for model, trained, ranks, stage, rows, tokens, accumulation, recomputed, more in RANK_CASES:
        data = folder / "long_rows.json"
        write_long_rows(data, 3 * ranks * rows * accumulation)
        flags = ["--model_name_or_path", folder / model, "--finetuning_type", trained, "--num_processes", ranks]
        flags += ["--zero_stage", stage, "--per_device_train_batch_size", rows, "--cutoff_len", tokens]
        flags += ["--gradient_accumulation_steps", accumulation, "--recompute_layers", recomputed, "--dataset", data]
        flags += ["--template", "default", "--device", "cpu", "--max_steps", 3, "--save_strategy", "no"]
        flags = [str(flag) for flag in flags + more]
        with tempfile.TemporaryDirectory() as output:
            run = ["--stage", "sft", "--do_train", "--output_dir", output, "--report_to", "none"]
            measured = peak_anonymous_bytes([program, "train", *run, *flags], {"OMP_NUM_THREADS": "1"})
        what = f"{model} {trained} {ranks} ranks, stage {stage}, {rows} x {tokens}, {accumulation} micro-batches, "
        what += f"{recomputed} recomputed {' '.join(more)}"
        yield what, planned_bytes(program, flags), measured


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--limit", type=float, default=0.10)
    parser.add_argument("--keep", type=Path, help="folder in which the models stay for the next run")
    parser.add_argument("--only", choices=["one", "several"], help="cases of one process, or of several ranks")
    options = parser.parse_args()
    kinds = {"one": one_process, "several": several_ranks}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name, shape in (("deep", DEEP), ("wide", WIDE)):
            if not (folder / name / "config.json").exists():
                make_model(options.program, shape, folder / name)
        worst = 0.0
        print("measured MB  planned MB    off  case")
        for kind in [options.only] if options.only else kinds:
            for what, planned, measured in kinds[kind](options.program, folder):
                off = planned / measured - 1
                worst = max(worst, abs(off))
                print(f"{measured / 1e6:11.0f} {planned / 1e6:11.0f} {100 * off:+6.1f}%  {what}", flush=True)
    print(f"largest difference {100 * worst:.1f} %, limit {100 * options.limit:.0f} %")
    sys.exit(worst > options.limit)


if __name__ == "__main__":
    main()
