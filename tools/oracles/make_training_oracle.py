"""Twenty training steps on a tiny Baichuan, in float32: the oracle of the trainer.

tests/data/train/README.md says what the files are.

usage: make_training_oracle.py OUT_DIR      writes tests/data/train (README.md stays as it is)
"""

import json
import os
import shutil
import sys

import peft
import torch
import transformers
from reference_model import hashed, make_weights
from safetensors.torch import load_file, save_file
from training_reference import IGNORED, build, train

SEED = 900
STEPS = 20
VOCABULARY = 64
CONFIG = dict(architectures=["BaichuanForCausalLM"], model_type="baichuan", hidden_act="silu", hidden_size=40,
              intermediate_size=48, num_hidden_layers=2, num_attention_heads=5, vocab_size=VOCABULARY,
              model_max_length=128, rms_norm_eps=1e-6, initializer_range=0.02, bos_token_id=1, eos_token_id=2,
              pad_token_id=0, tie_word_embeddings=False, torch_dtype="float32")
LORA = dict(r=4, lora_alpha=16, lora_dropout=0.0, target_modules=["W_pack"])

# What every run has unless it says otherwise; names and meanings are those of `baichuan train`.
OPTIONS = dict(finetuning_type="full", learning_rate=1e-3, weight_decay=0.0, lr_scheduler_type="constant",
               warmup_steps=0, max_grad_norm=0.0, gradient_accumulation_steps=1, loss_normalization="token")
RUNS = {
    "full": dict(weight_decay=0.1),
    "full_rope": dict(config=dict(position_embedding="rope")),
    "lora": dict(finetuning_type="lora"),
    "accumulation": dict(gradient_accumulation_steps=4),
    "accumulation_microbatch": dict(gradient_accumulation_steps=4, loss_normalization="microbatch"),
    "clipping": dict(max_grad_norm=0.5),
    "cosine": dict(lr_scheduler_type="cosine", warmup_steps=3),
    "lora_all_together": dict(finetuning_type="lora", gradient_accumulation_steps=3, max_grad_norm=0.25,
                              lr_scheduler_type="cosine", warmup_steps=3, weight_decay=0.1),
}
# Of full training these tensors are kept: a small one of each kind.
KEPT = ["model.embed_tokens.weight", "model.layers.0.input_layernorm.weight", "model.layers.1.self_attn.o_proj.weight",
        "model.norm.weight"]


def make_micro_batches(seed, count, unlabelled):
    """Rows of 3 to 24 tokens that follow a rule with some noise, so that there is something to learn. Prompts carry no
    label; every seventh row of the first token mean has none at all."""
    batches = []
    for number in range(count):
        draws = hashed(seed + number, 256).tolist()
        batch = dict(ids=[], labels=[])
        for row in range(2 + number % 2):
            draw = iter(draws[80 * row:])
            length = 3 + int(next(draw) * 22)
            ids = [3 + int(next(draw) * (VOCABULARY - 3))]
            while len(ids) < length - 1:
                ids.append(3 + (2 * ids[-1] + 7) % (VOCABULARY - 3) if next(draw) < 0.8 else 3 + int(next(draw) * 61))
            ids.append(2)
            prompt = 1 + int(next(draw) * (length - 2))
            silent = unlabelled and (number + row) % 7 == 6
            batch["ids"].append(ids)
            batch["labels"].append([IGNORED] * (length if silent else prompt) + ([] if silent else ids[prompt:]))
        batches.append(batch)
    return batches


def write_json(path, value, **options):
    with open(path, "w") as file:
        json.dump(value, file, **options)
        file.write("\n")


def write_adapter(directory, weights):
    model = peft.get_peft_model(build(CONFIG, weights), peft.LoraConfig(**LORA))
    generator = torch.Generator().manual_seed(SEED)
    for name, parameter in model.named_parameters():
        if "lora_" in name:  # B is not zero: A has a gradient from the first step on
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(directory)
    os.remove(os.path.join(directory, "README.md"))
    config_path = os.path.join(directory, "adapter_config.json")
    config = json.load(open(config_path))
    # Neither the machine's paths nor sets in the order of their hashes.
    config.update(base_model_name_or_path="base", auto_mapping=None, target_modules=sorted(config["target_modules"]))
    write_json(config_path, config, indent=2, sort_keys=True)


def run(options, weights, adapter, micro_batches, dtype=torch.float32):
    model = build({**CONFIG, **options.get("config", {})}, weights, dtype)
    if options["finetuning_type"] == "lora":
        model = peft.PeftModel.from_pretrained(model, adapter, is_trainable=True, autocast_adapter_dtype=False).to(dtype)
        figures = train(model, micro_batches, options)
        final = peft.get_peft_model_state_dict(model)
    else:
        figures = train(model, micro_batches, options)
        final = {name: value for name, value in model.state_dict().items() if name in KEPT}
    return figures, {name: value.detach().contiguous().clone() for name, value in final.items()}


def main(out):
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # sums in one order
    for part in ("base", "adapter", *RUNS):
        shutil.rmtree(os.path.join(out, part), ignore_errors=True)
    base, adapter = os.path.join(out, "base"), os.path.join(out, "adapter")
    os.makedirs(base)
    weights = make_weights(dict(CONFIG), SEED)
    save_file(weights, os.path.join(base, "model.safetensors"), metadata={"format": "pt"})
    write_json(os.path.join(base, "config.json"), CONFIG, indent=2)
    write_adapter(adapter, weights)
    weights = load_file(os.path.join(base, "model.safetensors"))
    for number, (name, changed) in enumerate(RUNS.items()):
        options = {**OPTIONS, **changed}
        accumulation = options["gradient_accumulation_steps"]
        batches = make_micro_batches(SEED + 1000 * (number + 1), STEPS * accumulation,
                                     unlabelled=options["loss_normalization"] == "token")
        figures, final = run(options, weights, adapter, batches)
        exact, exact_final = run(options, weights, adapter, batches, torch.float64)
        drift = dict(loss=max(abs(a - b) for a, b in zip(figures["loss"], exact["loss"])),
                     grad_norm=max(abs(a - b) / b for a, b in zip(figures["grad_norm"], exact["grad_norm"])),
                     final=max(float((final[k].double() - exact_final[k]).abs().max()) for k in final))
        directory = os.path.join(out, name)
        os.makedirs(directory)
        write_json(os.path.join(directory, "batches.json"), dict(micro_batches=batches, accumulation=accumulation),
                   separators=(",", ":"))
        made_with = dict(torch=torch.__version__.split("+")[0], peft=peft.__version__,
                         transformers=transformers.__version__, seed=SEED + 1000 * (number + 1))
        write_json(os.path.join(directory, "expected.json"),
                   dict(options=options, **figures, float64_drift=drift, made_with=made_with), indent=1)
        save_file(final, os.path.join(directory, "final.safetensors"), metadata={"format": "pt"})
        print(f"{name:24} loss {figures['loss'][0]:.4f} -> {figures['loss'][-1]:.4f}, norm "
              f"{min(figures['grad_norm']):.3f} … {max(figures['grad_norm']):.3f}, float32 against float64: "
              f"loss {drift['loss']:.1e}, norm {drift['grad_norm']:.1e}, final {drift['final']:.1e}")


if __name__ == "__main__":
    main(sys.argv[1])
