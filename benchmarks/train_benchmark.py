"""One LoRA step, against transformers + PEFT: tokens per second and peak memory, both sides alternately in one run.

usage: train_benchmark.py --baichuan tools/baichuan [--dtype fp32|bf16] [--rounds 3] [--rows alpaca.json --tokenizer FILE]

The model is a Baichuan-7B-shaped one of 285 M parameters with random weights, written by `baichuan init`. Both sides train
on the same batches from the same weights; the first losses must agree to 1e-4 or the run fails. The peer is a LLaMA of
transformers whose attention has Baichuan's packed W_pack, with PEFT's LoRA on it, PyTorch's sdpa and fused AdamW.
By default every position is labelled and nothing is padded (batch 4 x 256); with --rows, real instruction rows are taken
with their prompts unlabelled.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

CONFIG = dict(architectures=["BaiChuanForCausalLM"], model_type="baichuan", hidden_size=1024, num_hidden_layers=12,
              num_attention_heads=8, intermediate_size=2752, vocab_size=64000, rms_norm_eps=1e-6, initializer_range=0.02,
              max_position_embeddings=4096, hidden_act="silu", pad_token_id=0, bos_token_id=1, eos_token_id=2,
              tie_word_embeddings=False, use_cache=True)
FIRST_LOSS_TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}  # bf16 keeps 8 bits: both sides round differently


def peak_memory_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def packed_attention(torch, apply_rotary):
    class PackedAttention(torch.nn.Module):
        def __init__(self, config):
            super().__init__()
            self.heads = config.num_attention_heads
            self.W_pack = torch.nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
            self.o_proj = torch.nn.Linear(config.hidden_size, config.hidden_size, bias=False)

        def forward(self, hidden_states, position_embeddings=None, **_):
            b, t, d = hidden_states.shape
            q, k, v = (x.view(b, t, self.heads, -1).transpose(1, 2) for x in self.W_pack(hidden_states).split(d, -1))
            q, k = apply_rotary(q, k, *position_embeddings)
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.o_proj(y.transpose(1, 2).reshape(b, t, d)), None

    return PackedAttention


def run_peer(args):
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    torch.set_num_threads(args.threads)
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    keep = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "rms_norm_eps",
            "max_position_embeddings")
    config = LlamaConfig(**{k: CONFIG[k] for k in keep}, attn_implementation="sdpa", use_cache=False)
    attention = packed_attention(torch, apply_rotary_pos_emb)
    torch.set_default_dtype(dtype)
    model = LlamaForCausalLM(config)
    for layer in model.model.layers:
        layer.self_attn = attention(config)
    weights = {}
    for name in sorted(os.listdir(args.model)):
        if name.endswith(".safetensors"):
            weights.update(load_file(os.path.join(args.model, name)))
    model.load_state_dict(weights)
    del weights
    torch.set_default_dtype(torch.float32)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=32, lora_dropout=args.dropout, target_modules=["W_pack"],
                                             task_type="CAUSAL_LM"))
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True, weight_decay=0)
    batches = []
    for batch in json.load(open(args.batches)):
        longest = max(map(len, batch["ids"]))
        pad = lambda rows, value: torch.tensor([row + [value] * (longest - len(row)) for row in rows])
        mask = pad([[1] * len(row) for row in batch["ids"]], 0)
        batches.append((pad(batch["ids"], 0), pad(batch["labels"], -100), mask, sum(map(len, batch["ids"]))))
    rates, first_loss = [], None
    for i in range(args.discarded + args.steps):
        ids, labels, mask, tokens = batches[i % len(batches)]
        began = time.perf_counter()
        with torch.autocast("cpu", dtype=dtype, enabled=args.dtype == "bf16"):
            loss = model(input_ids=ids, attention_mask=mask if mask.min() == 0 else None, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        took = time.perf_counter() - began
        first_loss = loss.item() if first_loss is None else first_loss
        if i >= args.discarded:
            rates.append(tokens / took)
    print(json.dumps({"tokens_per_second": statistics.median(rates), "first_loss": first_loss,
                      "peak_memory_bytes": peak_memory_bytes()}))


def make_batches(args, path):
    import random
    draw = random.Random(args.seed)
    if not args.rows:
        rows = [[draw.randrange(3, CONFIG["vocab_size"]) for _ in range(256)] for _ in range(4)]
        json.dump([{"ids": rows, "labels": rows}], open(path, "w"))
        return
    data = json.load(open(args.rows))
    draw.shuffle(data)
    batches = []
    for first in range(0, 4 * args.steps, 4):
        ids, labels = [], []
        for row in data[first:first + 4]:
            prompt = "Human: " + row["instruction"] + ("\n" + row["input"] if row.get("input") else "") + "\nAssistant: "
            p, a = (tokenize(args, path, text) for text in (prompt, row["output"]))
            ids.append((p + a + [2])[:1024])
            labels.append(([-100] * len(p) + a + [2])[:1024])
        batches.append({"ids": ids, "labels": labels})
    json.dump(batches, open(path, "w"))


def tokenize(args, path, text):
    done = subprocess.run([args.baichuan, "tokenize", "--model_name_or_path", os.path.dirname(path), "--text", text], check=True,
                          capture_output=True, text=True)
    return json.loads(done.stdout)["ids"]


def run_ours(args, model, batches):
    command = [args.baichuan, "bench", "train", "--json", "--model_name_or_path", model, "--input", batches, "--steps",
               str(args.steps), "--discarded_steps", str(args.discarded), "--lora_dropout", str(args.dropout), "--device", "cpu"]
    if args.dtype == "bf16":
        command.append("--bf16")
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baichuan", required=False)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--discarded", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--rows", help="alpaca JSON with real rows")
    parser.add_argument("--tokenizer", help="tokenizer.model of 64,000 pieces, needed with --rows")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--batches", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        run_peer(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        json.dump(CONFIG, open(os.path.join(folder, "shape.json"), "w"))
        model = os.path.join(folder, "model")
        init = [args.baichuan, "init", "--config", os.path.join(folder, "shape.json"), "--output_dir", model, "--dtype", args.dtype]
        if args.tokenizer:
            init += ["--tokenizer", args.tokenizer]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
        batches = os.path.join(model, "batches.json")
        make_batches(args, batches)
        ratios, memory = [], []
        for n in range(args.rounds):
            ours = run_ours(args, model, batches)
            command = [sys.executable, os.path.abspath(__file__), "--peer", "--model", model, "--batches", batches]
            for flag in ("dtype", "steps", "discarded", "threads", "dropout"):
                command += ["--" + flag, str(getattr(args, flag))]
            peer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
            difference = abs(ours["first_loss"] - peer["first_loss"])
            assert difference <= FIRST_LOSS_TOLERANCE[args.dtype], f"first losses differ: {ours['first_loss']} {peer['first_loss']}"
            ratios.append(ours["tokens_per_second"] / peer["tokens_per_second"])
            memory.append(ours["peak_memory_bytes"] / peer["peak_memory_bytes"])
            print(f"round {n + 1}: ours {ours['tokens_per_second']:.1f} tokens/s, {ours['peak_memory_bytes'] / 1e9:.2f} GB; "
                  f"transformers + PEFT {peer['tokens_per_second']:.1f} tokens/s, {peer['peak_memory_bytes'] / 1e9:.2f} GB; "
                  f"first losses differ by {difference:.1e}", flush=True)
        print(f"{args.dtype}: {statistics.median(ratios):.2f} x the tokens/s ({min(ratios):.2f} to {max(ratios):.2f}), "
              f"{statistics.median(memory):.2f} x the peak memory ({min(memory):.2f} to {max(memory):.2f})")


if __name__ == "__main__":
    main()
