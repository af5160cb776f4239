"""Adapters that PEFT itself wrote, and what PEFT computes with them in float64: the oracle of tests/lora.

The base model is reference_model.py's, whose weights both sides make from a hash; committed are only the adapters, the
expected numbers and the gradients.

usage: make_lora_oracle.py OUT_DIR      writes tests/data/lora
"""

import json
import os
import shutil
import sys

import peft
import torch
from reference_model import attention, make_ids, make_weights, rms_norm
from safetensors.torch import save_file

CONFIG = dict(hidden_size=40, num_hidden_layers=2, num_attention_heads=5, intermediate_size=48, vocab_size=64,
              rms_norm_eps=1e-6, position="alibi", norm_head=False)
SEED = 700
LENGTH = 23
CASES = {
    "w_pack": dict(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=["W_pack"]),
    # Ranks and scales that differ from module to module, and alpha / sqrt(r).
    "patterns": dict(r=3, lora_alpha=6, use_rslora=True,
                     target_modules=["W_pack", "o_proj", "gate_proj", "up_proj", "down_proj"],
                     rank_pattern={"o_proj": 2, "layers.1.self_attn.W_pack": 5}, alpha_pattern={"down_proj": 2.5}),
    "expression": dict(r=2, lora_alpha=2, target_modules=r".*\.(gate_proj|up_proj)", layers_to_transform=None),
    "one_layer": dict(r=2, lora_alpha=16, target_modules=["mlp.down_proj", "o_proj"], layers_to_transform=[1]),
}


def linear(weights, name):
    weight = weights[name + ".weight"]
    module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    module.weight.data.copy_(weight)
    return module


class Holder(torch.nn.Module):
    """A module with the given children."""

    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)


class Norm(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(weight.clone())

    def forward(self, x):
        return rms_norm(x, self.weight, CONFIG["rms_norm_eps"])


class Baichuan(torch.nn.Module):
    config = {"model_type": "baichuan", "tie_word_embeddings": False}

    def __init__(self, weights):
        super().__init__()
        layers = []
        for i in range(CONFIG["num_hidden_layers"]):
            at = f"model.layers.{i}."
            layers.append(Holder(
                self_attn=Holder(**{n: linear(weights, f"{at}self_attn.{n}") for n in ("W_pack", "o_proj")}),
                mlp=Holder(**{n: linear(weights, f"{at}mlp.{n}") for n in ("gate_proj", "up_proj", "down_proj")}),
                input_layernorm=Norm(weights[at + "input_layernorm.weight"]),
                post_attention_layernorm=Norm(weights[at + "post_attention_layernorm.weight"])))
        self.model = Holder(layers=torch.nn.ModuleList(layers), norm=Norm(weights["model.norm.weight"]))
        self.model.embed_tokens = torch.nn.Embedding.from_pretrained(weights["model.embed_tokens.weight"].clone())
        self.lm_head = linear(weights, "lm_head")

    def get_output_embeddings(self):
        return self.lm_head

    def prepare_inputs_for_generation(self, *args, **kwargs):
        return {}

    def forward(self, input_ids):
        d, heads = CONFIG["hidden_size"], CONFIG["num_attention_heads"]
        x = self.model.embed_tokens(input_ids)
        for layer in self.model.layers:
            qkv = layer.self_attn.W_pack(layer.input_layernorm(x))
            q, k, v = (part.reshape(-1, heads, d // heads) for part in qkv.split(d, -1))
            x = x + layer.self_attn.o_proj(attention(CONFIG, q, k, v, official=False))
            h = layer.post_attention_layernorm(x)
            gate = torch.nn.functional.silu(layer.mlp.gate_proj(h))
            x = x + layer.mlp.down_proj(gate * layer.mlp.up_proj(h))
        return torch.log_softmax(self.lm_head(self.model.norm(x)), -1)


def summed_loss(model, ids):
    return -model(ids)[:-1].gather(1, ids[1:, None]).sum()


def make_case(out, name, options):
    torch.manual_seed(3)
    config = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **options)
    model = peft.get_peft_model(Baichuan(make_weights(CONFIG, SEED)), config)
    for parameter_name, parameter in model.named_parameters():
        if "lora_" in parameter_name:  # about as large as what training leaves
            parameter.data.normal_(0, 0.2)
    directory = os.path.join(out, name)
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    os.remove(os.path.join(directory, "README.md"))
    path = os.path.join(directory, "adapter_config.json")
    with open(path) as file:
        saved = json.load(file)
    saved.pop("auto_mapping"), saved.pop("base_model_name_or_path")
    with open(path, "w") as file:
        json.dump(saved, file, indent=2, sort_keys=True)
        file.write("\n")

    model = peft.PeftModel.from_pretrained(Baichuan(make_weights(CONFIG, SEED)), directory, is_trainable=True)
    model.double().eval()
    ids = make_ids(CONFIG, SEED + 1000, LENGTH)
    expected = {"log_probabilities": model.base_model.model(ids).detach()}
    summed_loss(model.base_model.model, ids).backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter.grad is not None:
            expected["gradient." + parameter_name.replace(".default", "")] = parameter.grad
    save_file({key: value.float().contiguous() for key, value in expected.items()},
              os.path.join(out, name + ".expected.safetensors"))


def main(out):
    for name, options in CASES.items():
        make_case(out, name, options)
    # The file of an older PEFT: a pickle.
    directory = os.path.join(out, "pickled")
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(os.path.join(out, "w_pack"), directory)
    from safetensors.torch import load_file
    torch.save(load_file(os.path.join(directory, "adapter_model.safetensors")),
               os.path.join(directory, "adapter_model.bin"))
    os.remove(os.path.join(directory, "adapter_model.safetensors"))
    with open(os.path.join(out, "made_with.json"), "w") as file:
        json.dump(dict(peft=peft.__version__, torch=torch.__version__, config=CONFIG, seed=SEED, length=LENGTH), file,
                  indent=2)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
