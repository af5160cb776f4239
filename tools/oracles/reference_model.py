"""Baichuan in plain PyTorch, for oracles: every formula written out, nothing fused, any dtype.

The tests of model/ compare the C++ classes with what this file computes in float64. Weights and ids come from a hash of
their index, so that both sides make the same ones and only expected numbers are committed.

usage: reference_model.py OUT.json      writes tests/data/model/log_probabilities.json
"""

import json
import math
import sys

import torch


def hashed(seed: int, count: int) -> torch.Tensor:
    """`count` numbers in [0, 1) with 24 bits: splitmix64 of seed * 2^32 + index."""
    mask = (1 << 64) - 1
    state = (torch.arange(count, dtype=torch.int64) + (seed << 32)).numpy().astype("uint64")
    import numpy

    with numpy.errstate(over="ignore"):
        z = (state + numpy.uint64(1)) * numpy.uint64(0x9E3779B97F4A7C15 & mask)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    return torch.from_numpy((z >> numpy.uint64(40)).astype("float64") / 2**24)


def make_weights(config: dict, seed: int) -> dict:
    """Uniform matrices, norms around 1, in float32; tensor t of the list draws from stream seed + t."""
    d, f, v = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    shapes = {"model.embed_tokens.weight": (v, d)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes[layer + "self_attn.W_pack.weight"] = (3 * d, d)
        shapes[layer + "self_attn.o_proj.weight"] = (d, d)
        shapes[layer + "mlp.gate_proj.weight"] = (f, d)
        shapes[layer + "mlp.up_proj.weight"] = (f, d)
        shapes[layer + "mlp.down_proj.weight"] = (d, f)
        shapes[layer + "input_layernorm.weight"] = (d,)
        shapes[layer + "post_attention_layernorm.weight"] = (d,)
    shapes["model.norm.weight"] = (d,)
    shapes["lm_head.weight"] = (v, d)
    weights = {}
    for t, (name, shape) in enumerate(shapes.items()):
        u = hashed(seed + t, math.prod(shape)).reshape(shape)
        # Wide enough that attention is far from uniform: columns of d give q and k a size of about one.
        width = 0.5 if len(shape) == 1 else 3.0 / math.sqrt(shape[-1])
        centre = 1.0 if len(shape) == 1 else 0.0
        weights[name] = (centre + width * (u - 0.5)).float()
    return weights


def make_ids(config: dict, seed: int, length: int) -> torch.Tensor:
    return (hashed(seed, length) * config["vocab_size"]).long()


def slopes(heads: int) -> list:
    def of_power(n):
        return [2 ** (-8 * (i + 1) / n) for i in range(n)]

    power = 2 ** int(math.log2(heads))
    return of_power(power) + of_power(2 * power)[::2][: heads - power]


def rms_norm(x, weight, eps):
    wide = x if x.dtype == torch.float64 else x.float()
    y = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * y.to(weight.dtype)


def rotate(x, positions):
    """x [T, H, K]; column c turns with column c + K/2."""
    half = x.shape[-1] // 2
    inverse = 1.0 / 10000 ** (torch.arange(0, 2 * half, 2, dtype=torch.float64) / (2 * half))
    angle = torch.outer(positions.double(), inverse)
    cos = torch.cat([angle.cos(), angle.cos()], -1)[:, None, :].to(x.dtype)
    sin = torch.cat([angle.sin(), angle.sin()], -1)[:, None, :].to(x.dtype)
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def attention(config, q, k, v, official):
    """q, k, v [T, H, K] -> [T, H * K]."""
    length, heads, size = q.shape
    index = torch.arange(length)
    future = index[None, :] > index[:, None]
    if config["position"] == "rope":
        q, k = rotate(q, index), rotate(k, index)
    out = []
    for h in range(heads):
        scores = q[:, h] @ k[:, h].T / math.sqrt(size)
        if config["position"] == "alibi":
            slope = torch.tensor(slopes(heads)[h], dtype=torch.float64)
            if official:  # absolute, in the model's dtype
                bias = (slope.float() * index.float()).to(q.dtype)[None, :].expand(length, length)
            else:
                bias = (slope * (index[None, :] - index[:, None])).to(scores.dtype)
            scores = scores + bias.masked_fill(future, -math.inf)
        else:
            scores = scores + torch.zeros_like(scores).masked_fill(future, torch.finfo(scores.dtype).min)
        if official:
            scores = scores.clamp_min(torch.finfo(scores.dtype).min)
        out.append(torch.softmax(scores, -1) @ v[:, h])
    return torch.cat(out, -1)


def log_probabilities(config, weights, ids, dtype=torch.float64, official=False):
    """log p(next token) at every position, [T, V] float64."""
    w = {name: value.to(dtype) for name, value in weights.items()}
    d, heads = config["hidden_size"], config["num_attention_heads"]
    x = w["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        h = rms_norm(x, w[layer + "input_layernorm.weight"], config["rms_norm_eps"])
        qkv = h @ w[layer + "self_attn.W_pack.weight"].T
        q, k, v = (part.reshape(len(ids), heads, d // heads) for part in qkv.split(d, -1))
        x = x + attention(config, q, k, v, official) @ w[layer + "self_attn.o_proj.weight"].T
        h = rms_norm(x, w[layer + "post_attention_layernorm.weight"], config["rms_norm_eps"])
        gate = torch.nn.functional.silu(h @ w[layer + "mlp.gate_proj.weight"].T)
        x = x + (gate * (h @ w[layer + "mlp.up_proj.weight"].T)) @ w[layer + "mlp.down_proj.weight"].T
    head = w["lm_head.weight"]
    if config.get("norm_head"):
        head = torch.nn.functional.normalize(head)
    logits = rms_norm(x, w["model.norm.weight"], config["rms_norm_eps"]) @ head.T
    return torch.log_softmax(logits.double(), -1)


SHAPE = dict(hidden_size=160, num_hidden_layers=2, num_attention_heads=5, intermediate_size=432, vocab_size=320,
             rms_norm_eps=1e-6)
CASES = [
    dict(name="13b_shaped", position="alibi", norm_head=False, lengths=[1, 2, 17, 300, 1025, 2048]),
    dict(name="7b_shaped", position="rope", norm_head=False, lengths=[1, 2, 17, 300, 1025, 2048]),
    dict(name="baichuan2_shaped", position="alibi", norm_head=True, lengths=[33]),
]


def samples(config, weights, seed, length, **options):
    """Log-probabilities of the token that follows and of one that does not, at up to 24 positions."""
    ids = make_ids(config, seed + 1000, length)
    logp = log_probabilities(config, weights, ids, **options)
    rows = sorted({0, length // 2, length - 1} | {length - 1 - n * max(1, length // 21) for n in range(21)
                                                 if length - 1 - n * max(1, length // 21) >= 0})
    following = [int(ids[(r + 1) % length]) for r in rows]
    other = [(r * 7 + 3) % config["vocab_size"] for r in rows]
    return dict(length=length, positions=rows, tokens=[following, other],
                log_probabilities=[[float(logp[r, t]) for r, t in zip(rows, tokens)] for tokens in (following, other)])


def main(path):
    cases = []
    for number, case in enumerate(CASES):
        config = dict(SHAPE, position=case["position"], norm_head=case["norm_head"])
        seed = 100 * (number + 1)
        weights = make_weights(config, seed)
        cases.append(dict(name=case["name"], config=config, seed=seed,
                          runs=[samples(config, weights, seed, n) for n in case["lengths"]]))
    # What the published classes compute in bfloat16, absolute biases included.
    config = dict(SHAPE, position="alibi", norm_head=False)
    weights = make_weights(config, 100)
    official = samples(config, weights, 100, 300, dtype=torch.bfloat16, official=True)
    with open(path, "w") as out:
        json.dump(dict(torch=torch.__version__, cases=cases, official_bfloat16=dict(config=config, seed=100, run=official)),
                  out, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
