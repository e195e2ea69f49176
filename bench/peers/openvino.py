#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI, the peer for prefill on CPUs with AMX.

    python3 bench/peers/openvino.py install FOLDER
    FOLDER/openvino/bin/python bench/peers/openvino.py run FILE.gguf [--threads 2] [--input-len 256,512] [--output-len 33] [--batch-size 1,4]

`install` puts the pinned wheels of openvino.txt into FOLDER/openvino. `run` prints one JSON object a line with the fields of
`quern bench latency`: input_len, output_len, batch_size, prefill_tok_s, decode_tok_s, each the median and, under NAME_best, the best of --num-iters.
A GGUF file is converted when it is loaded, so both programs can be given the same weights.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent


def install(folder):
    venv = pathlib.Path(folder).resolve() / "openvino"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run([str(venv / "bin/pip"), "install", "--quiet", "-r", str(HERE / "openvino.txt")], check=True)
    print(venv / "bin/python")


class Pipeline:
    def __init__(self, model, threads):
        import numpy
        import openvino
        import openvino_genai
        self.numpy, self.openvino, self.genai = numpy, openvino, openvino_genai
        self.pipe = openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
        self.random = numpy.random.default_rng(0)

    def generate(self, batch, input_len, output_len):
        """(seconds to the first token, seconds after it)"""
        config = self.genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = output_len
        config.ignore_eos, config.do_sample = True, False
        ids = self.random.integers(100, 500, (batch, input_len)).astype(self.numpy.int64)
        tokens = self.genai.TokenizedInputs(self.openvino.Tensor(ids), self.openvino.Tensor(self.numpy.ones_like(ids)))
        begin = time.perf_counter()
        result = self.pipe.generate(tokens, config)
        whole = time.perf_counter() - begin
        first = result.perf_metrics.get_ttft().mean / 1e3
        return first, whole - first


def run(o):
    pipeline = Pipeline(o.model, o.threads)
    pipeline.generate(1, 16, 4)
    for input_len in o.input_len:
        for batch in o.batch_size:
            times = [pipeline.generate(batch, input_len, o.output_len) for _ in range(o.num_iters)]
            prefill = [batch * input_len / first for first, _ in times]
            decode = [batch * (o.output_len - 1) / rest for _, rest in times if rest > 0]
            print(json.dumps({"input_len": input_len, "output_len": o.output_len, "batch_size": batch,
                              "prefill_tok_s": statistics.median(prefill), "prefill_tok_s_best": max(prefill),
                              "decode_tok_s": statistics.median(decode or [0]), "decode_tok_s_best": max(decode or [0])}), flush=True)


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = options.add_subparsers(dest="what", required=True)
    kinds.add_parser("install").add_argument("folder")
    r = kinds.add_parser("run")
    r.add_argument("model")
    r.add_argument("--threads", type=int, default=2)
    r.add_argument("--input-len", type=numbers, default=[256, 512])
    r.add_argument("--output-len", type=int, default=33)
    r.add_argument("--batch-size", type=numbers, default=[1])
    r.add_argument("--num-iters", type=int, default=3)
    o = options.parse_args()
    install(o.folder) if o.what == "install" else run(o)


if __name__ == "__main__":
    main()
