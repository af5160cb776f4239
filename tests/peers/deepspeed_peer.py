"""`baichuan train --num_processes 2 --deepspeed FILE` against DeepSpeed's own ZeRO-2 on two ranks, by the same FILE.

Full fine-tuning of a 7B-shaped model from the same weights on the same micro-batches; every loss and every gradient norm
is compared. DeepSpeed averages over the ranks' means, which is --loss_normalization microbatch. Rows are tokenised here
(train_peer.py), not by ours.

usage: deepspeed_peer.py BAICHUAN [FOLDER]      exit status 0 when all agree
"""

import json
import os
import pathlib
import sys
import tempfile

import sentencepiece
from deepspeed_ranks import train as train_theirs
from deepspeed_ranks import write_config
from peer_models import ROOT, TOKENIZER, init, run
from train_peer import tokenised

RANKS, BATCH, STEPS = 2, 2, 10
# Relative. In bfloat16 both sides round every product, each in its own places.
TOLERANCES = {"fp32": dict(loss=1e-5, grad_norm=1e-4), "bf16": dict(loss=2e-3, grad_norm=1e-2)}

RUNS = {
    "fp32": dict(),
    "fp32_decay_clipping": dict(weight_decay=0.1, gradient_clipping=0.5),
    "fp32_accumulation": dict(accumulation=3),
    "fp32_stage1": dict(stage=1, accumulation=2),
    "bf16": dict(dtype="bf16"),
    "bf16_accumulation": dict(dtype="bf16", accumulation=3),
}
DEFAULTS = dict(dtype="fp32", stage=2, accumulation=1, weight_decay=0.0, gradient_clipping=1.0, learning_rate=1e-3)


def micro_batches(rows, accumulation):
    """[step][micro-batch], in the order of the file."""
    size = RANKS * accumulation
    batches = [rows[first:first + BATCH] for first in range(0, len(rows), BATCH)]
    batches = [dict(ids=[ids for ids, _ in batch], labels=[labels for _, labels in batch]) for batch in batches]
    return [batches[first:first + size] for first in range(0, STEPS * size, size)]


def train_ours(binary, folder, name, model, options):
    output = folder / f"{name}_ours"
    run(binary, "train", "--stage", "sft", "--do_train", "--model_name_or_path", model, "--dataset", folder / "rows.json",
        "--dataset_cache_dir", folder / "cache", "--template", "default", "--finetuning_type", "full",
        "--deepspeed", folder / f"{name}.json", "--num_processes", RANKS, "--device", "cpu", "--disable_shuffling",
        "--per_device_train_batch_size", BATCH, "--gradient_accumulation_steps", options["accumulation"],
        "--learning_rate", options["learning_rate"], "--lr_scheduler_type", "constant",
        "--weight_decay", options["weight_decay"], "--max_grad_norm", options["gradient_clipping"],
        "--loss_normalization", "microbatch", "--max_steps", STEPS, "--logging_steps", 1, "--save_strategy", "no",
        "--report_to", "none", "--output_dir", output, *(["--bf16"] if options["dtype"] == "bf16" else []))
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return {key: [row[key] for row in history if "loss" in row] for key in ("loss", "grad_norm")}


def compare(name, ours, theirs, dtype):
    """Prints the largest differences; returns what is too large."""
    wrong = []
    if not len(ours["loss"]) == len(theirs["loss"]) == STEPS:
        wrong.append(f"{len(ours['loss'])} and {len(theirs['loss'])} steps, expected {STEPS}")
    largest = {}
    for key, tolerance in TOLERANCES[dtype].items():
        differences = [abs(a - b) / abs(b) for a, b in zip(ours[key], theirs[key])]
        largest[key] = max(differences)
        if not all(difference <= tolerance for difference in differences):
            wrong.append(f"{key} differs by {largest[key]:.1e} of its value")
    print(f"{name:20} loss {theirs['loss'][0]:.4f} -> {theirs['loss'][-1]:.4f}; largest differences, relative: "
          f"loss {largest['loss']:.1e}, norm {largest['grad_norm']:.1e}{'; WRONG: ' + '; '.join(wrong) if wrong else ''}",
          flush=True)
    return wrong


def main():
    binary = os.path.abspath(sys.argv[1])
    tokenizer = sentencepiece.SentencePieceProcessor(str(TOKENIZER / "tokenizer.model"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else scratch)
        folder.mkdir(parents=True, exist_ok=True)
        most = STEPS * RANKS * BATCH * max({**DEFAULTS, **changed}["accumulation"] for changed in RUNS.values())
        data = json.loads((ROOT / "configs" / "quickstart" / "general.json").read_text())[::20][:most]
        (folder / "rows.json").write_text(json.dumps(data, ensure_ascii=False))
        rows = [tokenised(tokenizer, row) for row in data]
        models = {dtype: init(binary, folder, dtype, "--dtype", dtype, initializer_range=0.05) for dtype in ("fp32", "bf16")}
        wrong = []
        for name, changed in RUNS.items():
            options = {**DEFAULTS, **changed}
            write_config(folder / f"{name}.json", batch=BATCH, **options)
            ours = train_ours(binary, folder, name, models[options["dtype"]], options)
            theirs = train_theirs(folder, models[options["dtype"]], folder / f"{name}.json",
                                  micro_batches(rows, options["accumulation"]), RANKS)
            wrong += compare(name, ours, theirs, options["dtype"])
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
