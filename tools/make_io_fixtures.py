#!/usr/bin/env python3
"""Writes the small checkpoints in tests/data/io that only torch itself can write.

Needs torch 2.11.0 and safetensors 0.8.0 (any later version should do). Run it from anywhere; the files are committed, so
this is needed only when a case is added. Every tensor holds row-major k / 8 - 2 (k = 0, 1, ...), which all floating
types hold exactly, unless a comment says otherwise.
"""

import collections
import json
import os
import pathlib

import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "io"


def values(*shape, dtype=torch.float32):
    count = 1
    for size in shape:
        count *= size
    return (torch.arange(count, dtype=torch.float64) / 8 - 2).reshape(shape).to(dtype)


def save(value, name, **options):
    # A buffer rather than a path: the archive inside is then called "archive" whatever the file is called.
    with open(OUT / name, "wb") as file:
        torch.save(value, file, **options)


def dtypes():
    return collections.OrderedDict(
        float32=values(3, 4),
        bfloat16=values(3, 4, dtype=torch.bfloat16),
        float16=values(3, 4, dtype=torch.float16),
        float64=values(3, 4, dtype=torch.float64),
        int64=torch.arange(-3, 3),
        int32=torch.arange(-3, 3, dtype=torch.int32),
        int8=torch.arange(-3, 3, dtype=torch.int8),
        uint8=torch.arange(250, 256, dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        scalar=torch.tensor(1.5),
        empty=torch.zeros(0, 4),
    )


def views():
    """Tensors that do not own a storage of exactly their size."""
    shared = values(6, 4, dtype=torch.bfloat16)
    return {
        "whole": shared,
        "rows": shared[2:4],
        "transposed": shared.t(),
        "column": shared[:, 1],
        "every_second": shared[::2, 1:],
        "parameter": torch.nn.Parameter(values(2, 3)),
        "transposed_f32": values(5, 3).t(),
    }


class RunsACommand:
    def __reduce__(self):
        return os.system, ("echo this must never run",)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    save(dtypes(), "dtypes.bin")
    save_file(dtypes(), OUT / "dtypes.safetensors", metadata={"format": "pt", "made_by": "make_io_fixtures"})
    save(views(), "views.bin")
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(values(*parameter.shape))
    save(module.state_dict(), "module.bin")  # an OrderedDict with a _metadata attribute
    save(dtypes(), "protocol4.bin", pickle_protocol=4)
    save(dtypes(), "before_1_6.bin", _use_new_zipfile_serialization=False)
    save({"model": module.state_dict(), "epoch": 3}, "nested.bin")
    save({"weight": values(2, 2), "epoch": 3, "note": "a text", "rates": [1e-3, None], "step": (1, 2**40)}, "extras.bin")
    save({"weight": values(2, 2), "command": RunsACommand()}, "hostile.bin")
    save(values(2, 2), "one_tensor.bin")
    save({"weight": values(2, 2), 7: values(2, 2)}, "number_as_name.bin")
    save({"weight": values(2, 2).expand(3, 2, 2)}, "expanded.bin")

    # As the published 13B shards: the second layer begins in the first file and ends in the second.
    shards = {
        "pytorch_model-00001-of-00002.bin": {
            "model.layers.0.mlp.up_proj.weight": values(4, 3, dtype=torch.bfloat16),
            "model.layers.1.self_attn.W_pack.weight": values(6, 2, dtype=torch.bfloat16),
        },
        "pytorch_model-00002-of-00002.bin": {
            "model.layers.1.mlp.up_proj.weight": values(4, 3, dtype=torch.bfloat16),
            "lm_head.weight": values(8, 2, dtype=torch.bfloat16),
        },
    }
    (OUT / "shards").mkdir(exist_ok=True)
    weight_map = {}
    for name, tensors in shards.items():
        save(tensors, "shards/" + name)
        weight_map.update({tensor: name for tensor in tensors})
    total = sum(t.numel() * t.element_size() for tensors in shards.values() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (OUT / "shards" / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
