"""`baichuan train` against a plain PyTorch loop with PEFT on the same rows: every loss, rate and norm, the final weights.

The reference tokenises the rows itself (SentencePiece, template `default`), forms the batches itself and trains
tools/oracles/training_reference.py's model; nothing of ours is asked but the finished run.

usage: train_peer.py BAICHUAN [FOLDER]      exit status 0 when all agree
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "oracles"))

import peft  # noqa: E402
import sentencepiece  # noqa: E402
import torch  # noqa: E402
from make_training_oracle import CONFIG, LORA  # noqa: E402
from reference_model import make_weights  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from training_reference import IGNORED, build, train  # noqa: E402

ROWS, STEPS, SEED = 30, 20, 77
LOSS_TOLERANCE = 5e-5
NORM_TOLERANCE = 1e-4    # relative
# Root of the mean square over all weights. A lone weight may differ by more: where a gradient is as small as its
# rounding error, AdamW's division by the second moment makes a whole step of it.
WEIGHT_TOLERANCE = 2e-6

SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. "
          "The assistant gives helpful, detailed, and polite answers to the user's questions.")

# batch rows * accumulation does not divide the 30 rows everywhere: the last step of an epoch is then a short one.
RUNS = {
    "full": dict(per_device_train_batch_size=2, weight_decay=0.1),
    "lora": dict(finetuning_type="lora", per_device_train_batch_size=3),
    "accumulation": dict(per_device_train_batch_size=2, gradient_accumulation_steps=4),
    "microbatch": dict(per_device_train_batch_size=2, gradient_accumulation_steps=5, loss_normalization="microbatch"),
    "clipping": dict(per_device_train_batch_size=4, max_grad_norm=0.5),
    "cosine": dict(per_device_train_batch_size=2, lr_scheduler_type="cosine", warmup_steps=3),
    "lora_all_together": dict(finetuning_type="lora", per_device_train_batch_size=2, gradient_accumulation_steps=4,
                              max_grad_norm=0.25, lr_scheduler_type="cosine", warmup_steps=3, weight_decay=0.1),
}
DEFAULTS = dict(finetuning_type="full", learning_rate=1e-3, weight_decay=0.0, lr_scheduler_type="constant",
                warmup_steps=0, max_grad_norm=0.0, gradient_accumulation_steps=1, loss_normalization="token")


def tokenised(tokenizer, row):
    """Each piece of the template by itself; the answer and the end are what is learned."""
    query = row["instruction"] + ("\n" + row["input"] if row.get("input") else "")
    prompt = [token for text in (SYSTEM, "\n", f"Human: {query}\nAssistant: ") for token in tokenizer.encode(text)]
    answer = tokenizer.encode(row["output"]) + [2]
    return prompt + answer, [IGNORED] * len(prompt) + answer


def micro_batches(rows, options):
    """Those of STEPS steps, in the order of the file; steps do not reach over the end of an epoch, so a short last one
    is filled up with empty micro-batches, which change neither mean."""
    size, accumulation = options["per_device_train_batch_size"], options["gradient_accumulation_steps"]
    epoch = []
    for first in range(0, len(rows), size):
        chosen = rows[first:first + size]
        epoch.append(dict(ids=[ids for ids, _ in chosen], labels=[labels for _, labels in chosen]))
    while len(epoch) % accumulation:
        epoch.append(dict(ids=[], labels=[]))
    batches = []
    while len(batches) < STEPS * accumulation:
        batches += epoch
    return batches[:STEPS * accumulation]


def flags(options):
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def prepare(folder):
    """The model, the adapter and the rows that both sides start from."""
    tokenizer_file = ROOT / "configs" / "quickstart" / "tokenizer.model"
    tokenizer = sentencepiece.SentencePieceProcessor(str(tokenizer_file))
    config = {**CONFIG, "vocab_size": tokenizer.get_piece_size()}
    weights = make_weights(config, SEED)
    base = folder / "base"
    base.mkdir(parents=True)
    (base / "config.json").write_text(json.dumps(config))
    (base / "tokenizer.model").write_bytes(tokenizer_file.read_bytes())
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})

    adapted = peft.get_peft_model(build(config, weights), peft.LoraConfig(**LORA))
    torch.manual_seed(SEED)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape))
    adapted.save_pretrained(folder / "adapter")

    rows = json.loads((ROOT / "configs" / "quickstart" / "general.json").read_text())[::100][:ROWS]
    (folder / "rows.json").write_text(json.dumps(rows, ensure_ascii=False))
    return config, weights, [tokenised(tokenizer, row) for row in rows]


def train_ours(binary, folder, name, options):
    output = folder / name
    command = [binary, "train", "--stage", "sft", "--do_train", "--model_name_or_path", str(folder / "base"),
               "--dataset", str(folder / "rows.json"), "--template", "default", "--disable_shuffling",
               "--max_steps", str(STEPS), "--logging_steps", "1", "--save_strategy", "no", "--lora_dropout", "0",
               "--device", "cpu", "--output_dir", str(output), *flags(options)]
    if options["finetuning_type"] == "lora":
        command += ["--adapter_name_or_path", str(folder / "adapter"), "--lora_rank", str(LORA["r"]),
                    "--lora_alpha", str(LORA["lora_alpha"])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{name}: {' '.join(command)}\nended with {done.returncode}:\n{done.stderr}")
    history = [row for row in json.loads((output / "trainer_state.json").read_text())["log_history"] if "loss" in row]
    figures = dict(loss=[row["loss"] for row in history], grad_norm=[row["grad_norm"] for row in history],
                   lr=[row["learning_rate"] for row in history])
    file = "adapter_model.safetensors" if options["finetuning_type"] == "lora" else "model.safetensors"
    return figures, load_file(output / file)


def train_theirs(folder, config, weights, rows, options):
    model = build(config, weights)
    if options["finetuning_type"] == "lora":
        model = peft.PeftModel.from_pretrained(model, folder / "adapter", is_trainable=True)
    figures = train(model, micro_batches(rows, options), options)
    final = peft.get_peft_model_state_dict(model) if options["finetuning_type"] == "lora" else model.state_dict()
    return figures, final


def compare(name, ours, our_weights, theirs, their_weights):
    """Prints the largest differences; returns what is too large."""
    wrong = []
    if len(ours["loss"]) != STEPS:
        wrong.append(f"{len(ours['loss'])} logged steps, expected {STEPS}")
    loss = max(abs(a - b) for a, b in zip(ours["loss"], theirs["loss"]))
    norm = max(abs(a - b) / b for a, b in zip(ours["grad_norm"], theirs["grad_norm"]))
    rates = [step for step, (a, b) in enumerate(zip(ours["lr"], theirs["lr"]), 1) if a != b]
    if loss > LOSS_TOLERANCE:
        wrong.append(f"losses differ by {loss:.1e}")
    if norm > NORM_TOLERANCE:
        wrong.append(f"norms differ by {norm:.1e} of their value")
    if rates:
        wrong.append(f"rates differ at steps {rates}")
    if set(our_weights) != set(their_weights):
        wrong.append(f"other tensors: {sorted(set(our_weights) ^ set(their_weights))[:4]}")
    squares = torch.cat([(our_weights[k] - their_weights[k].detach()).double().square().flatten()
                         for k in their_weights if k in our_weights])
    weight = float(squares.mean().sqrt())
    if weight > WEIGHT_TOLERANCE:
        wrong.append(f"final weights differ by {weight:.1e}")
    print(f"{name:20} loss {theirs['loss'][0]:.4f} -> {theirs['loss'][-1]:.4f}; largest differences: loss {loss:.1e}, "
          f"norm {norm:.1e}, weights {weight:.1e}{'; WRONG: ' + '; '.join(wrong) if wrong else ''}", flush=True)
    return wrong


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else scratch)
        config, weights, rows = prepare(folder)
        wrong = []
        for name, changed in RUNS.items():
            options = {**DEFAULTS, **changed}
            ours = train_ours(binary, folder, name, options)
            wrong += compare(name, *ours, *train_theirs(folder, config, weights, rows, options))
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
