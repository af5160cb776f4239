"""Baichuan as a plain torch.nn.Module and a plain training loop: what the trainer is measured against.

Rows go through the model one by one, so there is no padding and no mask to get wrong. Nothing here knows Baichuan's
C++; the formulas are reference_model.py's. LoRA is PEFT's own, the schedules are transformers' own, AdamW and clipping
are PyTorch's own.
"""

import math

import torch
from reference_model import attention, rms_norm

IGNORED = -100


class Norm(torch.nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return rms_norm(x, self.weight, self.eps)


def linear(inputs, outputs):
    return torch.nn.Linear(inputs, outputs, bias=False)


class Attention(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        size = config["hidden_size"]
        self.W_pack = linear(size, 3 * size)
        self.o_proj = linear(size, size)

    def forward(self, x):
        size, heads = self.config["hidden_size"], self.config["num_attention_heads"]
        q, k, v = (part.reshape(len(x), heads, size // heads) for part in self.W_pack(x).split(size, -1))
        return self.o_proj(attention(self.config, q, k, v, official=False))


class Mlp(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        size, inner = config["hidden_size"], config["intermediate_size"]
        self.gate_proj, self.up_proj, self.down_proj = linear(size, inner), linear(size, inner), linear(inner, size)

    def forward(self, x):
        return self.down_proj(torch.nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = Mlp(config)
        self.input_layernorm = Norm(config["hidden_size"], config["rms_norm_eps"])
        self.post_attention_layernorm = Norm(config["hidden_size"], config["rms_norm_eps"])

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = torch.nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = Norm(config["hidden_size"], config["rms_norm_eps"])

    def forward(self, ids):
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class ReferenceBaichuan(torch.nn.Module):
    """config: a Hugging Face config.json plus "position": "alibi" or "rope"."""

    def __init__(self, config):
        super().__init__()
        self.model = Decoder(config)
        self.lm_head = linear(config["hidden_size"], config["vocab_size"])

    def forward(self, ids):
        return self.lm_head(self.model(ids))


def position_of(config):
    """The rule by which a config.json says how positions are encoded."""
    if "position_embedding" in config:
        return config["position_embedding"]
    rope = ("max_position_embeddings" in config and "model_max_length" not in config) or config["hidden_size"] == 4096
    return "rope" if rope else "alibi"


def build(config, weights, dtype=torch.float32):
    model = ReferenceBaichuan({**config, "position": position_of(config)})
    model.load_state_dict(weights)
    return model.to(dtype)


def row_loss(model, ids, labels):
    """Sum over the labelled tokens, and their number; the label of token i is predicted at position i - 1."""
    logits = model(torch.tensor(ids))[:-1]
    targets = torch.tensor(labels[1:])
    wide = logits.double() if logits.dtype == torch.float64 else logits.float()
    total = torch.nn.functional.cross_entropy(wide, targets, ignore_index=IGNORED, reduction="sum")
    return total, int((targets != IGNORED).sum())


def parameter_groups(model, weight_decay):
    """Norms and biases are exempt from decay."""
    decayed, exempt = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (exempt if "norm" in name or name.endswith("bias") else decayed).append(parameter)
    groups = [dict(params=decayed, weight_decay=weight_decay), dict(params=exempt, weight_decay=0.0)]
    return [group for group in groups if group["params"]]


def train(model, micro_batches, options):
    """One optimiser step for every `accumulation` micro-batches. Returns the figures of each step."""
    from transformers import get_scheduler

    accumulation = options["gradient_accumulation_steps"]
    steps = math.ceil(len(micro_batches) / accumulation)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, options["weight_decay"]), lr=options["learning_rate"], foreach=False)
    schedule = get_scheduler(options["lr_scheduler_type"], optimizer, num_warmup_steps=options["warmup_steps"],
                             num_training_steps=steps)
    trained = [p for p in model.parameters() if p.requires_grad]
    figures = dict(loss=[], grad_norm=[], lr=[])
    for step in range(steps):
        batches = micro_batches[step * accumulation:(step + 1) * accumulation]
        optimizer.zero_grad()
        # All losses first: the divisor of the token mean is known only then. One graph for the whole step.
        sums, counts = [], []
        for batch in batches:
            rows = [row_loss(model, ids, labels) for ids, labels in zip(batch["ids"], batch["labels"])]
            sums.append(sum(total for total, _ in rows))
            counts.append(sum(count for _, count in rows))
        if options["loss_normalization"] == "token":
            loss = sum(sums) / sum(counts)
        else:
            loss = sum(total / count for total, count in zip(sums, counts) if count) / accumulation
        loss.backward()
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p.grad.double()) for p in trained]))
        if options["max_grad_norm"] > 0:
            torch.nn.utils.clip_grad_norm_(trained, options["max_grad_norm"])
        figures["loss"].append(float(loss.detach()))
        figures["grad_norm"].append(float(norm))
        figures["lr"].append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return figures
