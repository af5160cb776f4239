#!/usr/bin/env python3
"""Preprocessing of instruction rows: `baichuan preview --overwrite_cache` against `datasets.map` with 2 processes.

    benchmarks/preprocess_benchmark.py PROGRAM TOKENIZER DATA.json... [--rows 50000] [--rounds 3]

PROGRAM is the built baichuan, TOKENIZER a tokenizer.model or the folder that holds one, DATA alpaca rows, which are
repeated up to --rows. Both sides run in turn in every round. Ours is timed as a user runs it: process start, reading
JSON, tokenising, writing the cache. The peer is timed inside a running Python for `map` alone, its rows loaded, with
SentencePiece itself called straight from Python, which no tokenizer class on top of it can beat. Every id and label
of both sides is compared. Needs datasets and sentencepiece.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import datasets  # noqa: E402
import sentencepiece  # noqa: E402

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions."
)
CUTOFF = 1024
END = 2


class Preprocessor:
    """Template `default`, every element tokenised by itself, source and target cut in proportion."""

    def __init__(self, model):
        self.model = model
        self.processor = None

    def __getstate__(self):
        return {"model": self.model, "processor": None}

    def __call__(self, rows):
        if self.processor is None:
            self.processor = sentencepiece.SentencePieceProcessor(model_file=self.model)
            self.prefix = self.processor.encode(SYSTEM) + self.processor.encode("\n")
        out = {"input_ids": [], "labels": []}
        for instruction, extra, answer in zip(rows["instruction"], rows["input"], rows["output"]):
            if not instruction or not answer:
                continue
            query = f"{instruction}\n{extra}" if extra else instruction
            source = self.prefix + self.processor.encode(f"Human: {query}\nAssistant: ")
            target = self.processor.encode(answer) + [END]
            total = len(source) + len(target)
            if total > CUTOFF:
                source, target = source[: CUTOFF * len(source) // total], target[: CUTOFF * len(target) // total]
            out["input_ids"].append(source + target)
            out["labels"].append([-100] * len(source) + target)
        return out


def processor_seconds():
    """Of this process and of all children that have ended: holds still where other programs take turns."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run_ours(arguments, data, folder, rows, capture):
    command = [arguments.program, "preview", "--model_name_or_path", arguments.tokenizer, "--dataset", str(data),
               "--template", "default", "--dataset_cache_dir", str(folder), "--preprocessing_num_workers", "2",
               "--overwrite_cache", "--rows", str(rows), "--log_level", "warning", "--json"]
    begin = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    seconds = time.perf_counter() - begin
    return seconds, json.loads(done.stdout) if capture else None


def run_peer(dataset, preprocess):
    begin = time.perf_counter()
    mapped = dataset.map(preprocess, batched=True, num_proc=2, remove_columns=dataset.column_names,
                         load_from_cache_file=False)
    return time.perf_counter() - begin, mapped


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("tokenizer")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--rows", type=int, default=50000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    originals = [row for path in arguments.data for row in json.loads(Path(path).read_text(encoding="utf-8"))]
    rows = [originals[i % len(originals)] for i in range(arguments.rows)]
    model = Path(arguments.tokenizer)
    model = str(model / "tokenizer.model" if model.is_dir() else model)
    datasets.disable_progress_bars()

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows.json"
        data.write_text(json.dumps(rows, ensure_ascii=False, indent=2), encoding="utf-8")
        dataset = datasets.load_dataset("json", data_files=str(data), split="train", cache_dir=folder)
        preprocess = Preprocessor(model)

        _, ours = run_ours(arguments, data, folder, arguments.rows, capture=True)
        _, peer = run_peer(dataset, preprocess)
        assert ours["train_rows"] == len(peer), (ours["train_rows"], len(peer))
        for mine, his in zip(ours["examples"], peer):
            assert mine["ids"] == his["input_ids"] and mine["labels"] == his["labels"], (mine, his)
        print(f"{len(peer)} rows, {ours['tokens']} tokens: ids and labels agree")
        del ours, peer

        sides = {
            "ours": lambda: run_ours(arguments, data, folder, 0, capture=False)[0],
            "peer": lambda: run_peer(dataset, preprocess)[0],
        }
        wall = {side: [] for side in sides}
        processor = {side: [] for side in sides}
        for number in range(arguments.rounds):
            for side, run in sides.items():
                before = processor_seconds()
                wall[side].append(run())
                processor[side].append(processor_seconds() - before)
            print(f"round {number}: ours {wall['ours'][-1]:.2f} s ({processor['ours'][-1]:.2f} s of processor time), "
                  f"datasets.map {wall['peer'][-1]:.2f} s ({processor['peer'][-1]:.2f} s)", flush=True)
        result = {"rows": arguments.rows}
        for name, times in (("seconds", wall), ("processor_seconds", processor)):
            medians = {side: statistics.median(times[side]) for side in sides}
            result |= {f"{side}_{name}": round(value, 3) for side, value in medians.items()}
            result[f"{name}_ratio"] = round(medians["peer"] / medians["ours"], 2)
        print(json.dumps(result))


if __name__ == "__main__":
    main()
