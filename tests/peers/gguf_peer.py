"""A model directory as llama.cpp's converter sees it: every tensor has a name there, W_pack splits as it splits it, and
the files that it reads say what it needs. The names are gguf's own (the package of llama.cpp).

usage: gguf_peer.py BAICHUAN      exit status 0 when all agree
"""

import json
import os
import pathlib
import sys
import tempfile

import gguf
import sentencepiece
import torch
from checks import check, wrong
from peer_models import SHAPE, init, load_baichuan


def permuted(weight, heads):
    """The converter's order of q and k: the two halves that RoPE turns together become neighbours."""
    return weight.reshape(heads, 2, len(weight) // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def rotate_halves(x, angle):
    """Column c of K turns with column c + K/2, as in Baichuan."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def rotate_neighbours(x, angle):
    """Column 2c turns with column 2c + 1, as in ggml."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1).flatten(-2)


def scores(query, key, heads, rotate):
    """[T, D] twice -> [H, T, T]"""
    length, size = query.shape
    depth = size // heads
    frequencies = 10000.0 ** (-torch.arange(0, depth, 2, dtype=torch.float64) / depth)
    angle = torch.arange(length, dtype=torch.float64)[:, None, None] * frequencies
    query, key = (rotate(x.reshape(length, heads, depth), angle) for x in (query, key))
    return torch.einsum("thd,shd->hts", query, key)


def check_split(model):
    heads, size = SHAPE["num_attention_heads"], SHAPE["hidden_size"]
    torch.manual_seed(3)
    x = torch.randn(9, size, dtype=torch.float64)
    for i, layer in enumerate(model.model.layers):
        packed = layer.self_attn.W_pack.weight.detach().double()
        check(f"layer {i}: W_pack has three parts of the hidden size", list(packed.shape) == [3 * size, size])
        query, key, _ = packed.chunk(3)
        ours = scores(x @ query.T, x @ key.T, heads, rotate_halves)
        theirs = scores(x @ permuted(query, heads).T, x @ permuted(key, heads).T, heads, rotate_neighbours)
        check(f"layer {i}: the split and permuted parts give the same scores", torch.allclose(ours, theirs, rtol=1e-12))


def converted(model):
    """{gguf's name: tensor}, as the converter writes them; a tensor without a name is wrong."""
    arch, heads = gguf.MODEL_ARCH.BAICHUAN, SHAPE["num_attention_heads"]
    names = gguf.get_tensor_name_map(arch, SHAPE["num_hidden_layers"])
    result = {}
    for name, value in model.state_dict().items():
        value = value.detach()
        if name.endswith(".self_attn.W_pack.weight"):
            block = int(name.split(".")[2])
            query, key, v = value.chunk(3)
            kinds = (gguf.MODEL_TENSOR.ATTN_Q, gguf.MODEL_TENSOR.ATTN_K, gguf.MODEL_TENSOR.ATTN_V)
            for kind, part in zip(kinds, (permuted(query, heads), permuted(key, heads), v)):
                result[gguf.TENSOR_NAMES[kind].format(bid=block) + ".weight"] = part
            continue
        mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
        check(f"{name} has a name", mapped is not None, mapped)
        result[mapped] = value
    return result


def check_names(found):
    arch = gguf.MODEL_ARCH.BAICHUAN
    computed = {gguf.MODEL_TENSOR.ROPE_FREQS, gguf.MODEL_TENSOR.ATTN_ROT_EMBD}  # no weights
    wanted = set()
    for kind in set(gguf.MODEL_TENSORS[arch]) - computed:
        name = gguf.TENSOR_NAMES[kind]
        blocks = range(SHAPE["num_hidden_layers"]) if "{bid}" in name else [0]
        wanted |= {name.format(bid=block) + ".weight" for block in blocks}
    check("all tensors of the architecture are there and no other", set(found) == wanted, len(found))


def check_file(tensors, path):
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.BAICHUAN])
    for name, value in tensors.items():
        writer.add_tensor(name, value.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = {tensor.name: torch.tensor(tensor.data) for tensor in gguf.GGUFReader(path).tensors}
    check("a GGUF file of them reads back the same",
          read.keys() == tensors.keys() and all(torch.equal(read[name].reshape(tensors[name].shape), tensors[name])
                                                for name in tensors))


def check_metadata(directory):
    config = json.loads((directory / "config.json").read_text())
    needed = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "rms_norm_eps")
    check("config.json has the converter's keys", all(key in config for key in needed))
    lengths = [key for key in ("max_sequence_length", "max_position_embeddings", "model_max_length") if key in config]
    check("config.json has a length", bool(lengths), lengths)
    known = ("BaichuanForCausalLM", "BaiChuanForCausalLM")
    check("the architecture is one that it knows", config["architectures"][0] in known)
    pieces = sentencepiece.SentencePieceProcessor(str(directory / "tokenizer.model")).vocab_size()
    check("tokenizer.model fits the vocabulary", pieces <= config["vocab_size"], pieces)
    special = gguf.SpecialVocab(directory, n_vocab=config["vocab_size"]).special_token_ids
    check("the special tokens", (special.get("bos"), special.get("eos")) == (1, 2), special)


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        for name, changed in (("rope", {}), ("alibi", dict(position_embedding="alibi"))):
            print(name)
            directory = init(binary, folder, name, "--dtype", "fp32", "--max_shard_size", "300KB", **changed)
            check_metadata(directory)
            model = load_baichuan(directory)
            tensors = converted(model)
            check_names(tensors)
            check_file(tensors, folder / f"{name}.gguf")
            if name == "rope":
                check_split(model)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
