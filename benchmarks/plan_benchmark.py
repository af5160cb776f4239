#!/usr/bin/env python3
"""What `baichuan plan` says a training step takes against what it takes: peak anonymous memory, on the CPU.

    benchmarks/plan_benchmark.py PROGRAM [--limit 0.10] [--keep FOLDER]

PROGRAM is the built baichuan. Two models of 80 million parameters (a deep one, and one with Baichuan's vocabulary) are
made by `init`; `bench train` runs three steps of each case while the kernel's RssAnon of the process is read every
4 ms. Prints a row a case and ends with 1 when a plan is off by more than --limit.
"""
import argparse
import json
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


def make_model(program, shape, folder):
    config = json.loads((SOURCE / "configs/quickstart/model.json").read_text())
    config.update(shape, model_max_length=4096)
    file = folder.with_suffix(".json")
    file.write_text(json.dumps(config))
    tokenizer = SOURCE / "configs/quickstart/tokenizer.model"
    command = [program, "init", "--config", file, "--tokenizer", tokenizer, "--output_dir", folder, "--log_level", "error"]
    subprocess.run(command, check=True)


def peak_anonymous_bytes(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        peak = max(peak, int(found[1]) * 1024 if found else 0)
        time.sleep(0.004)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {process.stderr.read()}")
    return peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--limit", type=float, default=0.10)
    parser.add_argument("--keep", type=Path, help="folder in which the models stay for the next run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name, shape in (("deep", DEEP), ("wide", WIDE)):
            if not (folder / name / "config.json").exists():
                make_model(options.program, shape, folder / name)
        worst = 0.0
        print("model trained rows tokens recomputed  measured MB  planned MB    off  flags")
        for model, trained, rows, tokens, recomputed, more in CASES:
            flags = ["--model_name_or_path", folder / model, "--finetuning_type", trained, "--device", "cpu", "--json"]
            flags += ["--per_device_train_batch_size", rows, "--cutoff_len", tokens, "--recompute_layers", recomputed]
            flags = [str(flag) for flag in flags + more]
            plan = subprocess.run(
                [options.program, "plan", "--log_level", "error", *flags], check=True, capture_output=True, text=True
            )
            planned = json.loads(plan.stdout)["memory"]["total_bytes"]
            steps = ["--steps", "2", "--discarded_steps", "1"]
            measured = peak_anonymous_bytes([options.program, "bench", "train", *steps, *flags])
            off = planned / measured - 1
            worst = max(worst, abs(off))
            print(
                f"{model:5} {trained:7} {rows:4} {tokens:6} {recomputed:10} {measured / 1e6:12.0f} {planned / 1e6:11.0f} "
                f"{100 * off:+6.1f}%  {' '.join(more)}",
                flush=True,
            )
    print(f"largest difference {100 * worst:.1f} %, limit {100 * options.limit:.0f} %")
    sys.exit(worst > options.limit)


if __name__ == "__main__":
    main()
