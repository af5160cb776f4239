"""What the benchmarks of several ranks share: a 7B-shaped model of 60 M parameters, rows of one length, runs of
`baichuan train`, and the time of each of their steps. Nothing but Python's own library.
"""

import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "configs" / "quickstart"
# The vocabulary is the tokenizer's; embedding and head hold 5 % of the parameters, as in the 7B.
SHAPE = dict(architectures=["BaiChuanForCausalLM"], model_type="baichuan", hidden_act="silu", hidden_size=768,
             intermediate_size=2048, num_hidden_layers=8, num_attention_heads=12, vocab_size=2048,
             max_position_embeddings=4096, rms_norm_eps=1e-6, initializer_range=0.02, bos_token_id=1, eos_token_id=2,
             pad_token_id=0, tie_word_embeddings=False)
MOST_STEPS = 51  # tokens_per_second is a mean over the newest 50 steps


def parameters():
    size, inner, layers = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["num_hidden_layers"]
    layer = 4 * size * size + 3 * size * inner + 2 * size
    return layers * layer + 2 * SHAPE["vocab_size"] * size + size


def value_bytes(dtype):
    return {"fp32": 4, "bf16": 2}[dtype]


def checked(command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def make_model(binary, folder, dtype):
    shape = folder / "shape.json"
    shape.write_text(json.dumps(SHAPE))
    checked([binary, "init", "--config", shape, "--tokenizer", QUICKSTART, "--dtype", dtype, "--output_dir", folder / dtype])
    return folder / dtype


def single_token_words(binary, folder, model):
    """Words that stay one token wherever they stand, so that a row's length is known before it is tokenised."""
    text = (QUICKSTART / "general.json").read_text()
    words = sorted(set(re.findall(r"\b[a-z]{2,}\b", text)))
    (folder / "words.txt").write_text("".join(f"{word} {word} {word}\n" for word in words))
    rows = checked([binary, "tokenize", "--model_name_or_path", model, "--file", folder / "words.txt"]).splitlines()
    whole = [word for word, row in zip(words, rows) if len(set(json.loads(row)["ids"])) == 1]
    assert len(whole) >= 50, f"expected 50 words of one token in {QUICKSTART}/general.json; found {len(whole)}"
    return whole


def make_rows(binary, folder, model, count, length):
    """Rows of exactly `length` tokens under the template `vanilla`: half prompt, half answer, the end."""
    words = single_token_words(binary, folder, model)
    draws = random_numbers(len(words))
    answer = (length - 1) // 2
    rows = []
    for _ in range(count):
        texts = [" ".join(words[next(draws)] for _ in range(n)) for n in (length - 1 - answer, answer)]
        rows.append(dict(instruction=texts[0], input="", output=texts[1]))
    return rows


def random_numbers(below):
    """The same on every machine and in every version."""
    state = 12345
    while True:
        state = (6364136223846793005 * state + 1442695040888963407) % 2**64
        yield (state >> 33) % below


class TrainingRun:
    """`baichuan train` over `ranks` ranks with `threads` threads each: full fine-tuning of rows in their order, every
    position labelled, no layer recomputed, nothing saved on the way. It starts at once."""

    def __init__(self, args, model, rows, name, *, steps, ranks=1, threads=1, accumulation=1, flags=()):
        self.folder = pathlib.Path(rows).parent
        self.output = self.folder / f"{name}_output"
        shutil.rmtree(self.output, ignore_errors=True)
        assert steps <= MOST_STEPS, f"expected at most {MOST_STEPS} steps; found {steps}"
        self.steps = steps
        self.tokens_per_step = args.batch * args.length * ranks * accumulation
        command = [args.baichuan, "train", "--stage", "sft", "--do_train", "--finetuning_type", "full", "--device", "cpu",
                   "--model_name_or_path", model, "--dataset", rows, "--dataset_cache_dir", self.folder / "cache",
                   "--template", "vanilla", "--train_on_prompt", "--cutoff_len", args.length, "--disable_shuffling",
                   "--per_device_train_batch_size", args.batch, "--gradient_accumulation_steps", accumulation,
                   "--max_steps", steps, "--logging_steps", 1, "--lr_scheduler_type", "constant", "--learning_rate", 1e-4,
                   "--num_processes", ranks, "--recompute_layers", "none", "--save_strategy", "no", "--report_to", "none",
                   "--output_dir", self.output, *flags]
        if args.dtype == "bf16":
            command.append("--bf16")
        self.command = [str(part) for part in command]
        self.log = self.folder / f"{name}.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log,
                                            env={**os.environ, "OMP_NUM_THREADS": str(threads)})

    def finish(self):
        if self.process.wait() != 0:
            sys.exit(f"{' '.join(self.command)}\nended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        rows = [json.loads(line) for line in (self.output / "trainer_log.jsonl").read_text().splitlines()]
        assert len(rows) == self.steps, f"expected {self.steps} rows in trainer_log.jsonl; found {len(rows)}"
        self.losses = [row["loss"] for row in rows]
        self.peak_memory_bytes = max(row["peak_memory_bytes"] for row in rows)
        # tokens_per_second counts from the second step on; all steps have equally many tokens.
        ends = [0.0] + [n * self.tokens_per_step / row["tokens_per_second"] for n, row in enumerate(rows[1:], 1)]
        self.step_seconds = [end - begin for begin, end in zip(ends, ends[1:])]
        shutil.rmtree(self.output)  # the final model is large
        return self

    def seconds(self):
        """Of a step: the median, without the first of all."""
        return statistics.median(self.step_seconds)


def run_sides(pair, sides):
    """{name: what its function returns}; every other pair has its sides in the other order."""
    return {name: sides[name]() for name in (reversed(sides) if pair % 2 else sides)}


def largest_difference(ours, theirs):
    """Relative, of two equally long lists; a NaN counts as infinite."""
    assert len(ours) == len(theirs), f"expected equally many steps; found {len(ours)} and {len(theirs)}"
    differences = [abs(a - b) / abs(b) for a, b in zip(ours, theirs)]
    return max(float("inf") if d != d else d for d in differences)


def spread(values, digits=3):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
