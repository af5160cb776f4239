"""Answers, on the machine it runs on, what could not be settled without a GPU: which attention suits ALiBi, what it
costs and how exact it is; what the quantised products and fused norms of this torch are worth.

usage: gpu_probes.py [--output probes.json] [--device cuda|cpu]

Needs torch alone. Every probe stands by itself: one that fails is reported and the next one runs. On the CPU the
sizes shrink and the probes that need CUDA say so; that is a test of this script, not a measurement.
"""

import argparse
import json
import math
import statistics
import sys
import time

import torch

aten = torch.ops.aten
HEAD_SIZE = 128
SCALE = 1 / math.sqrt(HEAD_SIZE)


def alibi_slopes(heads):
    """2^(-8k/n) for the largest power of two n <= heads, then every other one of the next."""
    n = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-8.0 * (k + 1) / n) for k in range(n)]
    return slopes + [2.0 ** (-4.0 * (2 * k + 1) / n) for k in range(heads - n)]


class Machine:
    def __init__(self, device):
        self.device = torch.device(device)
        self.cuda = self.device.type == "cuda"
        self.heads = 40 if self.cuda else 5
        self.lengths = (512, 1024, 2048, 4096, 8192) if self.cuda else (256, 384)

    def need_cuda(self):
        if not self.cuda:
            raise RuntimeError("needs CUDA")

    def time_ms(self, work, repeats=10):
        for _ in range(2):
            work()
        if not self.cuda:
            began = time.perf_counter()
            work()
            return (time.perf_counter() - began) * 1e3
        took = []
        for _ in range(repeats):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            work()
            end.record()
            torch.cuda.synchronize()
            took.append(start.elapsed_time(end))
        return statistics.median(took)

    def peak_mb(self, work):
        """Memory that `work` takes beyond what is there before it."""
        if not self.cuda:
            return None
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6


def make_qkv(machine, batch, length, seed=17):
    generator = torch.Generator(device="cpu").manual_seed(seed)
    shape = (3, batch, machine.heads, length, HEAD_SIZE)
    values = torch.randn(shape, generator=generator).to(machine.device, torch.bfloat16)
    return [t.contiguous() for t in values.unbind(0)]


def fold(q, k, v, centred=False):
    """ALiBi as 8 more columns: slope * j with j = 256 a + b, slope * sqrt(128) split in two bf16 numbers."""
    batch, heads, length, _ = q.shape
    slope = torch.tensor(alibi_slopes(heads), dtype=torch.float64, device=q.device) * math.sqrt(HEAD_SIZE)
    s1 = slope.to(torch.bfloat16)
    s2 = (slope - s1.double()).to(torch.bfloat16)
    zero = torch.zeros_like(s1)
    q_columns = torch.stack([s1, s1, s2, s2, zero, zero, zero, zero], -1)[None, :, None, :].expand(batch, -1, length, -1)
    j = torch.arange(length, device=q.device)
    if centred:
        j = j - length // 2
    high = torch.div(j, 256, rounding_mode="floor") * 256
    low = j - high
    nothing = torch.zeros_like(j)
    k_columns = torch.stack([high, low, high, low, nothing, nothing, nothing, nothing], -1).to(torch.bfloat16)
    k_columns = k_columns[None, None].expand(batch, heads, -1, -1)
    v_columns = torch.zeros(batch, heads, length, 8, dtype=v.dtype, device=v.device)
    return torch.cat([q, q_columns], -1), torch.cat([k, k_columns], -1), torch.cat([v, v_columns], -1)


def flash(q, k, v):
    if q.is_cuda:
        return aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True, False, scale=SCALE)[0]
    return aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True, scale=SCALE)[0]


def folded(centred):
    return lambda q, k, v: flash(*fold(q, k, v, centred))[..., :HEAD_SIZE]


def relative_bias(heads, length, device, dtype):
    j = torch.arange(length, device=device, dtype=torch.float32)
    slope = torch.tensor(alibi_slopes(heads), device=device, dtype=torch.float32)
    return (slope[:, None, None] * (j[None, None, :] - j[None, :, None])).to(dtype)[None]  # [1, H, T, T]


def efficient(q, k, v, bias):
    bias = bias.expand(q.shape[0], -1, q.shape[2], -1)
    return aten._scaled_dot_product_efficient_attention(q, k, v, bias, True, 0.0, True, scale=SCALE)[0]


def reference_rows(q, k, v, rows, heads):
    """The last `rows` query rows of some heads in float64, by the formula."""
    out = []
    for h in heads:
        slope = alibi_slopes(q.shape[1])[h]
        length = q.shape[2]
        i = torch.arange(length - rows, length, device=q.device)[:, None]
        j = torch.arange(length, device=q.device)[None, :]
        scores = q[0, h, -rows:].double() @ k[0, h].double().T * SCALE + slope * (j - i)
        scores = scores.masked_fill(j > i, -math.inf)
        out.append(torch.softmax(scores, -1) @ v[0, h].double())
    return torch.stack(out)


def out_error(function, q, k, v):
    rows = min(256, q.shape[2])
    heads = sorted({0, q.shape[1] // 3, q.shape[1] - 1, min(31, q.shape[1] - 1)})
    want = reference_rows(q, k, v, rows, heads)
    got = function(q, k, v)[0, heads, -rows:].double()
    return ((got - want).norm() / want.norm()).item()


def gradient_error(machine, function):
    """Against float64 autograd of the formula, T = 512."""
    leaves = [t.clone().requires_grad_() for t in make_qkv(machine, 1, 512 if machine.cuda else 128)]
    upstream = torch.randn(leaves[0].shape, generator=torch.Generator().manual_seed(3)).to(leaves[0])
    function(*leaves).backward(upstream)
    wide = [t.detach().double().requires_grad_() for t in leaves]
    length = wide[0].shape[2]
    bias = relative_bias(machine.heads, length, machine.device, torch.float64)
    causal = torch.ones(length, length, dtype=torch.bool, device=machine.device).tril()
    scores = (wide[0] @ wide[1].transpose(-1, -2) * SCALE + bias).masked_fill(~causal, -math.inf)
    (torch.softmax(scores, -1) @ wide[2]).backward(upstream.double())
    return {f"error_d{name}": ((a.grad.double() - b.grad).norm() / b.grad.norm()).item()
            for name, a, b in zip("qkv", leaves, wide)}


def probe_attention(machine):
    """What ALiBi attention costs, forward and backward, and how far each way is from float64."""
    rows = []
    for length in machine.lengths:
        variants = {"flash d=128, no bias": flash, "flash d=136, fold": folded(False),
                    "flash d=136, fold centred": folded(True)}
        if length <= 4096:
            bias = relative_bias(machine.heads, length, machine.device, torch.bfloat16)
            variants["mem-efficient, bf16 bias"] = lambda q, k, v, bias=bias: efficient(q, k, v, bias)
        variants["cuDNN d=128, no bias"] = lambda q, k, v: aten._scaled_dot_product_cudnn_attention(
            q, k, v, None, True, 0.0, True, False, scale=SCALE)[0]
        for name, function in variants.items():
            row = {"T": length, "variant": name}
            rows.append(row)
            try:
                q, k, v = make_qkv(machine, 1, length)
                if "no bias" not in name:
                    row["error_out"] = out_error(function, q, k, v)
                leaves = [t.requires_grad_() for t in (q, k, v)]
                upstream = torch.randn_like(q)

                def step():
                    for leaf in leaves:
                        leaf.grad = None
                    function(*leaves).backward(upstream)

                def forward():
                    with torch.no_grad():
                        function(q, k, v)

                row["forward_ms"] = machine.time_ms(forward)
                row["step_ms"] = machine.time_ms(step)
                row["forward_TFLOPs"] = 2 * length**2 * machine.heads * HEAD_SIZE / row["forward_ms"] / 1e9
                row["peak_MB"] = machine.peak_mb(step)
            except Exception as error:  # the next variant may do
                row["error"] = str(error).splitlines()[0][:160]
    return rows


def probe_gradients(machine):
    """Gradients of the fold against float64 autograd of the formula (relative norms)."""
    rows = []
    for name, function in {"fold": folded(False), "fold centred": folded(True)}.items():
        rows.append({"variant": name, **gradient_error(machine, function)})
    return rows


def probe_long_scores(machine):
    """Folded scores reach 4e4 and more: does the error grow with the length, and does centring j help?"""
    rows = []
    for length in (4096, 8192, 16384, 32768) if machine.cuda else (512, 1024):
        q, k, v = make_qkv(machine, 1, length)
        with torch.no_grad():
            rows.append({"T": length, "fold": out_error(folded(False), q, k, v),
                         "fold centred": out_error(folded(True), q, k, v)})
    return rows


def probe_stride0_bias(machine):
    """mem-efficient attention with a bias that repeats over the batch by stride 0: accepted, without being copied?"""
    machine.need_cuda()
    rows = []
    length = 2048
    q, k, v = make_qkv(machine, 4, length)
    shared = relative_bias(machine.heads, length, machine.device, torch.bfloat16)
    for name, bias in {"one bias for 4 rows (stride 0)": shared,
                       "four copies": shared.expand(4, -1, -1, -1).contiguous()}.items():
        work = lambda: efficient(q, k, v, bias)
        rows.append({"bias": name, "forward_ms": machine.time_ms(work), "peak_MB": machine.peak_mb(work),
                     "bias_MB": bias.untyped_storage().nbytes() / 1e6, "error_out": out_error(lambda *x: efficient(*x, bias), q, k, v)})
    return rows


def probe_bottom_right(machine):
    """The raw flash op with fewer queries than keys: is causal aligned to the bottom right (chunked prefill)?"""
    machine.need_cuda()
    queries, keys = 256, 1024
    q, k, v = (t.transpose(1, 2) for t in make_qkv(machine, 1, keys))  # [B, T, H, K], as the raw op takes it
    q = q[:, -queries:]
    got = aten._flash_attention_forward(q, k, v, None, None, queries, keys, 0.0, True, False, scale=SCALE)[0]
    rows = []
    i = torch.arange(queries, device=machine.device)[:, None]
    j = torch.arange(keys, device=machine.device)[None, :]
    for name, visible in {"bottom right": j <= i + keys - queries, "top left": j <= i}.items():
        scores = torch.einsum("bqhk,bshk->bhqs", q.double(), k.double()) * SCALE
        want = torch.softmax(scores.masked_fill(~visible, -math.inf), -1) @ v.double().transpose(1, 2)
        difference = got.double().transpose(1, 2) - want
        rows.append({"alignment": name, "error_out": (difference.norm() / want.norm()).item()})
    return rows


def probe_products(machine):
    """One token through a 13B up-projection [13696, 5120]: how near are bf16, int8 and int4 to the memory's speed?"""
    machine.need_cuda()
    n, k = 13696, 5120
    rows = []
    weight = torch.randn(n, k, device=machine.device, dtype=torch.bfloat16)
    int8 = torch.randint(-127, 127, (n, k), device=machine.device, dtype=torch.int8)
    scales = torch.rand(n, device=machine.device, dtype=torch.bfloat16)
    nibbles = torch.randint(0, 255, (n, k // 2), device=machine.device, dtype=torch.uint8)
    int4 = aten._convert_weight_to_int4pack(nibbles, 8)
    zeros = torch.rand(k // 128, n, 2, device=machine.device, dtype=torch.bfloat16)
    for m in (1, 8, 32):
        x = torch.randn(m, k, device=machine.device, dtype=torch.bfloat16)
        for name, work, size in (
            ("bf16 linear", lambda: torch.nn.functional.linear(x, weight), 2.0),
            ("_weight_int8pack_mm", lambda: aten._weight_int8pack_mm(x, int8, scales), 1.0),
            ("_weight_int4pack_mm", lambda: aten._weight_int4pack_mm(x, int4, 128, zeros), 0.5),
            ("_int_mm", lambda: aten._int_mm(x.to(torch.int8), int8.T), 1.0),
        ):
            row = {"op": name, "M": m}
            rows.append(row)
            try:
                row["ms"] = machine.time_ms(work, 30)
                row["GB_per_s"] = n * k * size / row["ms"] / 1e6
            except Exception as error:
                row["error"] = str(error).splitlines()[0][:120]
    return rows


def probe_norms(machine):
    """RMSNorm [4096, 5120] bf16: the fused op against plain operations (bytes of x read and written once)."""
    shape = (4096, 5120) if machine.cuda else (64, 256)
    x = torch.randn(shape, device=machine.device).to(torch.bfloat16)
    weight = torch.ones(shape[1], device=machine.device, dtype=torch.bfloat16)

    def plain():
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)

    rows = []
    for name, work in {"plain": plain, "_fused_rms_norm": lambda: aten._fused_rms_norm(x, [shape[1]], weight, 1e-6)[0]}.items():
        took = machine.time_ms(work)
        rows.append({"op": name, "ms": took, "GB_per_s": x.numel() * 4 / took / 1e6})
    return rows


def probe_limits(machine):
    """What the rest is measured against: a large bf16 product, a copy in device memory."""
    machine.need_cuda()
    n = 8192
    a, b = (torch.randn(n, n, device=machine.device, dtype=torch.bfloat16) for _ in range(2))
    product = machine.time_ms(lambda: a @ b)
    block = torch.empty(2 * 10**9, device=machine.device, dtype=torch.uint8)
    target = torch.empty_like(block)
    copy = machine.time_ms(lambda: target.copy_(block))
    return [{"product_TFLOPs": 2 * n**3 / product / 1e9, "copy_GB_per_s": 2 * block.numel() / copy / 1e6}]


PROBES = [probe_limits, probe_attention, probe_gradients, probe_long_scores, probe_stride0_bias, probe_bottom_right,
          probe_products, probe_norms]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", default="-")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    machine = Machine(arguments.device)
    torch.manual_seed(17)
    report = {"device": torch.cuda.get_device_name() if machine.cuda else "cpu (a test of the script)",
              "torch": torch.__version__, "cudnn": torch.backends.cudnn.version() if machine.cuda else None, "probes": []}
    for probe in PROBES:
        began = time.perf_counter()
        entry = {"name": probe.__name__.removeprefix("probe_"), "question": probe.__doc__, "rows": []}
        try:
            entry["rows"] = probe(machine)
        except Exception as error:
            entry["error"] = str(error).splitlines()[0][:200]
        entry["seconds"] = time.perf_counter() - began
        report["probes"].append(entry)
        print(json.dumps(entry), file=sys.stderr, flush=True)
        if machine.cuda:
            torch.cuda.empty_cache()
    text = json.dumps(report, indent=1)
    if arguments.output == "-":
        print(text)
    else:
        with open(arguments.output, "w") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
