"""Directories that `baichuan init`, `export` and `train` write, as transformers, PyTorch and PEFT load them.

Names, shapes, dtypes, metadata and index of the weights; config.json and generation_config.json; the log-probabilities
of transformers' Llama and of PEFT's models against those of `baichuan score`; adapters in both directions.

usage: checkpoint_peer.py BAICHUAN [FOLDER]      exit status 0 when all agree
"""

import json
import os
import pathlib
import sys
import tempfile

import peft
import safetensors
import torch
import transformers
from checks import check, wrong
from peer_models import (ROOT, SHAPE, as_llama, init, largest_difference, load_baichuan, run, score, score_here)

LOGPROB_TOLERANCE = 1e-4


def expected_shapes():
    size, inner, vocabulary = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["vocab_size"]
    shapes = {"model.embed_tokens.weight": [vocabulary, size], "model.norm.weight": [size],
              "lm_head.weight": [vocabulary, size]}
    for i in range(SHAPE["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {layer + "self_attn.W_pack.weight": [3 * size, size], layer + "self_attn.o_proj.weight": [size, size],
                   layer + "mlp.gate_proj.weight": [inner, size], layer + "mlp.up_proj.weight": [inner, size],
                   layer + "mlp.down_proj.weight": [size, inner], layer + "input_layernorm.weight": [size],
                   layer + "post_attention_layernorm.weight": [size]}
    return shapes


def read_weights(directory, file_format):
    """{file: {name: tensor}}; safetensors' metadata are checked on the way."""
    files = {}
    for path in sorted(directory.glob("*.safetensors" if file_format == "safetensors" else "pytorch_model*.bin")):
        if file_format == "bin":
            files[path.name] = torch.load(path, weights_only=True)
            continue
        with safetensors.safe_open(path, "pt") as file:
            files[path.name] = {name: file.get_tensor(name) for name in file.keys()}
            if file.metadata() != {"format": "pt"}:
                check(f"{path.name}: metadata", False, file.metadata())
    return files


def check_index(directory, files, file_format):
    stem = "model.safetensors" if file_format == "safetensors" else "pytorch_model.bin"
    index = json.loads((directory / f"{stem}.index.json").read_text())
    holds = {name: file for file, tensors in files.items() for name in tensors}
    check("  the index says which file holds what", index["weight_map"] == holds)
    size = sum(tensor.numel() * tensor.element_size() for tensors in files.values() for tensor in tensors.values())
    check("  the index says how many bytes", index["metadata"]["total_size"] == size, size)
    base, suffix = stem.split(".")
    names = [f"{base}-{i + 1:05}-of-{len(files):05}.{suffix}" for i in range(len(files))]
    check("  shards are named as transformers names them", sorted(files) == names, len(files))


def check_directory(binary, folder, directory, dtype, file_format="safetensors", sharded=False):
    """Returns the tensors."""
    print(f"{directory.name}: {dtype}, {file_format}{', sharded' if sharded else ''}")
    config = transformers.PretrainedConfig.from_pretrained(directory)
    odd = [key for key, value in SHAPE.items() if getattr(config, key) != value]
    check("  config.json parses", not odd and config.dtype in (dtype, str(dtype).removeprefix("torch.")), odd)
    generation = transformers.GenerationConfig.from_pretrained(directory)
    check("  generation_config.json parses", generation.eos_token_id == 2 and generation.bos_token_id == 1)

    files = read_weights(directory, file_format)
    tensors = {name: tensor for file in files.values() for name, tensor in file.items()}
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    check("  names and shapes", shapes == expected_shapes() and sum(map(len, files.values())) == len(tensors))
    check("  dtypes", {tensor.dtype for tensor in tensors.values()} == {dtype})
    if sharded:
        check_index(directory, files, file_format)
    else:
        check("  one file and no index", len(files) == 1 and not list(directory.glob("*.index.json")))

    model = load_baichuan(directory)
    check("  from_pretrained finds every tensor", model is not None and model.dtype == dtype)
    if model is None:
        return tensors
    same = all(torch.equal(tensors[name], value) for name, value in model.state_dict().items())
    check("  from_pretrained reads the same values", same)
    llama = as_llama(model)
    theirs = score_here(lambda ids: llama(ids[None]).logits[0])
    difference = largest_difference(score(binary, folder, "--model_name_or_path", directory), theirs)
    check("  log-probabilities of transformers' Llama", difference <= LOGPROB_TOLERANCE, f"{difference:.1e}")
    return tensors


def check_checkpoints(binary, folder):
    base = init(binary, folder, "base", "--dtype", "fp32")
    tensors = check_directory(binary, folder, base, torch.float32)
    sharded = init(binary, folder, "init_shards", "--dtype", "bf16", "--max_shard_size", "200KB")
    check_directory(binary, folder, sharded, torch.bfloat16, sharded=True)
    init_bin = init(binary, folder, "init_bin", "--dtype", "fp32", "--format", "bin")
    from_bin = check_directory(binary, folder, init_bin, torch.float32, "bin")
    check("  .bin and .safetensors hold the same", all(torch.equal(from_bin[name], tensors[name]) for name in tensors))
    for file_format in ("safetensors", "bin"):
        exported = folder / f"export_{file_format}"
        run(binary, "export", "--model_name_or_path", base, "--output_dir", exported, "--dtype", "fp16", "--format",
            file_format, "--max_shard_size", "300KB")
        halves = check_directory(binary, folder, exported, torch.float16, file_format, sharded=True)
        check("  rounded once", all(torch.equal(halves[name], tensors[name].half()) for name in tensors))
    return base


def adapter_scores(base, directory):
    """PEFT's; and what of the adapter it could not place."""
    model = peft.PeftModel.from_pretrained(load_baichuan(base), directory).eval()
    placed = peft.get_peft_model_state_dict(model)
    with safetensors.safe_open(directory / "adapter_model.safetensors", "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}
    same = placed.keys() == stored.keys() and all(torch.equal(placed[name], stored[name]) for name in placed)
    return score_here(lambda ids: model.base_model.model(ids)), same


def check_trained_adapter(binary, folder, base):
    print("an adapter of `baichuan train` in PEFT")
    data = json.loads((ROOT / "configs" / "quickstart" / "general.json").read_text())[::200]
    (folder / "rows.json").write_text(json.dumps(data, ensure_ascii=False))
    trained = folder / "trained"
    run(binary, "train", "--stage", "sft", "--do_train", "--model_name_or_path", base, "--dataset",
        folder / "rows.json", "--template", "default", "--finetuning_type", "lora", "--lora_target", "W_pack,o_proj",
        "--lora_rank", 4, "--lora_alpha", 12, "--learning_rate", "1e-2", "--max_steps", 5,
        "--per_device_train_batch_size", 4, "--save_strategy", "no", "--device", "cpu", "--output_dir", trained)
    config = peft.PeftConfig.from_pretrained(trained)
    check("  adapter_config.json", config.peft_type == "LORA" and config.task_type == "CAUSAL_LM" and config.r == 4
          and config.lora_alpha == 12 and set(config.target_modules) == {"W_pack", "o_proj"}
          and config.base_model_name_or_path == str(base), config.base_model_name_or_path)
    theirs, placed = adapter_scores(base, trained)
    check("  every tensor has its place", placed)
    ours = score(binary, folder, "--model_name_or_path", base, "--adapter_name_or_path", trained)
    difference = largest_difference(ours, theirs)
    check("  log-probabilities of PEFT", difference <= LOGPROB_TOLERANCE, f"{difference:.1e}")
    moved = largest_difference(ours, score(binary, folder, "--model_name_or_path", base))
    check("  the adapter says something", moved > 100 * LOGPROB_TOLERANCE, f"{moved:.1e}")

    merged = folder / "merged"
    run(binary, "export", "--model_name_or_path", base, "--adapter_name_or_path", trained, "--output_dir", merged)
    llama = as_llama(load_baichuan(merged))
    difference = largest_difference(theirs, score_here(lambda ids: llama(ids[None]).logits[0]))
    check("  merged by `baichuan export`, in transformers' Llama", difference <= LOGPROB_TOLERANCE, f"{difference:.1e}")


def check_peft_adapter(binary, folder, base, name, **options):
    print(f"an adapter of PEFT in `baichuan score`: {name}")
    config = peft.LoraConfig(r=6, lora_alpha=9, task_type="CAUSAL_LM", **options)
    torch.manual_seed(7)
    model = peft.get_peft_model(load_baichuan(base), config)
    for key, parameter in model.named_parameters():
        if "lora_" in key:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder / name)
    theirs, _ = adapter_scores(base, folder / name)
    ours = score(binary, folder, "--model_name_or_path", base, "--adapter_name_or_path", folder / name)
    difference = largest_difference(ours, theirs)
    check("  log-probabilities of PEFT", difference <= LOGPROB_TOLERANCE, f"{difference:.1e}")


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else scratch)
        folder.mkdir(parents=True, exist_ok=True)
        base = check_checkpoints(binary, folder)
        check_trained_adapter(binary, folder, base)
        check_peft_adapter(binary, folder, base, "peft_plain", target_modules=["W_pack"])
        check_peft_adapter(binary, folder, base, "peft_all", target_modules="all-linear", use_rslora=True)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
