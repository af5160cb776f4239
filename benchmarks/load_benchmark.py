#!/usr/bin/env python3
"""Loading a checkpoint from the page cache, against a C program that reads the same bytes with two threads.

Both start a process, hold every tensor in fresh memory and print the sum of all 64-bit words; they run alternately and
the medians are compared. Needs cc, 2.1 times the size in memory and the size on disk.

  benchmarks/load_benchmark.py --program build/cpu/benchmarks/load_checkpoint [--gigabytes 8] [--runs 5] [--limit 1.2]
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


def timed(command):
    start = time.monotonic()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return time.monotonic() - start, output


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--gigabytes", type=float, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--limit", type=float, default=1.2, help="largest ratio that passes")
    parser.add_argument("--folder", default=None, help="where the checkpoint is made (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        checkpoint = pathlib.Path(folder) / "checkpoint"
        yardstick = pathlib.Path(folder) / "read_bytes"
        subprocess.run(
            ["cc", "-O3", "-march=native", "-pthread", HERE / "load" / "read_bytes.c", "-o", yardstick], check=True)
        subprocess.run([options.program, checkpoint, "--make", str(options.gigabytes)], check=True)
        files = sorted(checkpoint.glob("*.safetensors"))
        times = {"C": [], "ours": []}
        for run in range(options.runs + 1):
            sums = set()
            for name, command in (("C", [yardstick, *files]), ("ours", [options.program, checkpoint])):
                seconds, output = timed(command)
                sums.add(output)
                if run > 0:  # the first fills the page cache
                    times[name].append(seconds)
            if len(sums) != 1:
                sys.exit(f"the sums differ: {sums}")
        size = sum(file.stat().st_size for file in files) / 1e9
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name}: {size / medians[name]:.2f} GB/s, median {medians[name]:.2f} s of "
              + ", ".join(f"{value:.2f}" for value in values))
    ratio = medians["ours"] / medians["C"]
    print(f"ratio {ratio:.2f} (at most {options.limit})")
    return ratio > options.limit


if __name__ == "__main__":
    sys.exit(main())
