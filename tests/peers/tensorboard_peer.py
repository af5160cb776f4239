"""Event files as TensorBoard itself reads them, against trainer_state.json of the same run.

Every logged loss, rate, norm and evaluation must be there, as float32, once and in order; rows that a resumed run has
taken back must be gone.

usage: tensorboard_peer.py OUTPUT_DIR …         output directories of finished runs
       tensorboard_peer.py --baichuan BAICHUAN  trains a tiny model first: straight, and resumed after a later stop
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = pathlib.Path(__file__).resolve().parents[2]
TAGS = {"train/loss": "loss", "train/learning_rate": "learning_rate", "train/grad_norm": "grad_norm",
        "eval/loss": "eval_loss"}


def read_scalars(output_dir):
    folders = [path for path in (output_dir / "runs").iterdir() if path.is_dir()]
    if len(folders) != 1:
        sys.exit(f"{output_dir}/runs: expected one folder, found {len(folders)}")
    events = EventAccumulator(str(folders[0]), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    scalars = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    texts = [tag for tag in events.Tags()["tensors"] if events.SummaryMetadata(tag).plugin_data.plugin_name == "text"]
    return scalars, texts


def check(output_dir):
    """Returns what is wrong, as sentences."""
    scalars, texts = read_scalars(output_dir)
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    wrong = [] if texts else ["no text summary"]
    for tag, key in TAGS.items():
        expected = [(row["step"], float(numpy.float32(row[key]))) for row in history if key in row]
        found = scalars.get(tag, [])
        if found != expected:
            odd = next((pair for pair in zip(found, expected) if pair[0] != pair[1]), "none of these")
            wrong.append(f"{tag}: {len(found)} rows of {len(expected)}; first that differ: {odd}")
    count = sum(len(rows) for rows in scalars.values())
    print(f"{output_dir}: {len(scalars)} tags, {count} rows{'; WRONG: ' + '; '.join(wrong) if wrong else ' agree'}")
    return wrong


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr}")


def make_runs(binary, folder):
    quickstart = ROOT / "configs" / "quickstart"
    run(binary, "init", "--config", quickstart / "model.json", "--tokenizer", quickstart, "--output_dir", folder / "base")
    train = [binary, "train", "--stage", "sft", "--do_train", "--model_name_or_path", folder / "base",
             "--dataset_dir", quickstart, "--dataset", "quickstart_general", "--max_samples", 40, "--template", "default",
             "--finetuning_type", "lora", "--val_size", 4, "--per_device_train_batch_size", 4,
             "--evaluation_strategy", "steps", "--eval_steps", 2, "--save_steps", 2, "--logging_steps", 1,
             "--max_steps", 8, "--output_dir"]
    run(*train, folder / "straight")
    run(*train, folder / "resumed")
    run(*train, folder / "resumed", "--resume_from_checkpoint", folder / "resumed" / "checkpoint-4")
    return [folder / "straight", folder / "resumed"]


def main():
    if sys.argv[1:2] != ["--baichuan"]:
        return 1 if sum((check(pathlib.Path(path)) for path in sys.argv[1:]), []) else 0
    with tempfile.TemporaryDirectory() as scratch:
        runs = make_runs(sys.argv[2], pathlib.Path(scratch))
        return 1 if sum((check(path) for path in runs), []) else 0


if __name__ == "__main__":
    sys.exit(main())
