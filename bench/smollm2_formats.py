#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How exact each weight format and kind of inputs is: SmolLM2-135M, stored in every format, against float32 on the same weights.

    python bench/smollm2_formats.py [--only NAMES] [--tokens 2000] [--gguf build/models/smollm2-135m/model.gguf]

Needs numpy and gguf, nothing else: run it with any Python that has them. The weights of the GGUF file are widened to float32, its linear layers
rounded to each format by the plainest rule (the nearest code, a scale from the largest weight of a group) and written as a checkpoint
build/bench/smollm2_FORMAT, where one that is there is left alone; embeddings, which are the head too, are bf16, norms float32. Two tables of
markdown: `quern eval --against-float32` of bench/prose.txt for bf16 and int8 inputs (perplexity, divergence, best token), and the greedy answers to
a few prompts with bf16 inputs against those with float32 inputs. Nothing here is timed, so nothing is paused.
"""
import argparse
import json
import sys

import gguf
import numpy as np

from common import ROOT, WORK, quern

GROUP = 64  # divides 576, the hidden size
ANSWER = 64  # tokens
PROMPTS = ["Tell me a short story about a lighthouse.", "Why is the sky blue?", "How do bees make honey?", "Write a poem about autumn.",
           "Explain what a prime number is.", "List five tips for learning a language.", "Describe the city of Paris.",
           "Write a Python function that reverses a string."]
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
E4M3 = np.array([m * 2.0**-9 if e == 0 else (1 + m / 8) * 2.0**(e - 7) for e in range(16) for m in range(8)][:127], np.float32)
NF4 = np.array([-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
                -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1], np.float32)


def bf16(x):
    """Bit patterns of float32 values rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def widened(patterns):
    return (patterns.astype(np.uint32) << 16).view(np.float32)


def nearest(table, x):
    """Indices into a rising table, ties to the even one; beyond its ends, the last."""
    middles = (table[1:] + table[:-1]) / 2
    low = np.searchsorted(middles, x, "left")
    return np.where(low & 1, np.searchsorted(middles, x, "right"), low).astype(np.uint8)


def signed(table, sign, x):
    """Codes of a float format whose sign is the bit `sign`."""
    return nearest(table, np.abs(x)) | np.where(np.signbit(x), sign, 0).astype(np.uint8)


def words(codes, bits):
    """Codes packed along the last axis into 32-bit words, the first lowest."""
    parts = codes.reshape(*codes.shape[:-1], -1, 32 // bits).astype(np.uint32) << (bits * np.arange(32 // bits, dtype=np.uint32))
    return np.bitwise_or.reduce(parts, axis=-1)


def grouped(w, size):
    return w.reshape(w.shape[0], -1, size)


def largest(x):
    return np.maximum(np.abs(x).max(-1), 1e-8)


def rounded(w, scales, low, high):
    """Whole numbers of a grouped matrix; the shape is the matrix's."""
    return np.clip(np.rint(w / scales[..., None]), low, high).reshape(w.shape[0], -1).astype(np.int32)


# Each format: the tensors of a layer w [out, in] by the end of their name, as (dtype, values).

def plain(w):
    yield "weight", "BF16", bf16(w)


def gptq(bits):
    half = 1 << (bits - 1)

    def layer(w):
        parts = grouped(w, GROUP)
        scales = (largest(parts) / (half - 0.5)).astype(np.float16)
        codes = rounded(parts, scales.astype(np.float32), -half, half - 1) + half
        yield "qweight", "I32", words(codes, bits).T
        yield "qzeros", "I32", words(np.full(scales.T.shape, half - 1), bits)  # version 1 stores the zero point less one
        yield "scales", "F16", scales.T
        yield "g_idx", "I32", np.arange(w.shape[1], dtype=np.int32) // GROUP
    return layer


def awq(w):
    parts = grouped(w, GROUP)
    low, high = np.minimum(parts.min(-1), 0), np.maximum(parts.max(-1), 0)
    scales = (np.maximum(high - low, 1e-5) / 15).astype(np.float16)
    steps = scales.astype(np.float32)
    zeros = np.clip(np.rint(-low / steps), 0, 15)
    codes = np.clip(np.rint(parts / steps[..., None]) + zeros[..., None], 0, 15).reshape(w.shape)

    def packed(x):
        x = x.T.astype(np.uint32)
        return words(x.reshape(x.shape[0], -1, 8)[..., AWQ_ORDER].reshape(x.shape), 4)
    yield "qweight", "I32", packed(codes)
    yield "qzeros", "I32", packed(zeros)
    yield "scales", "F16", scales.T


def packed_int4(w):
    parts = grouped(w, GROUP)
    scales = bf16(largest(parts) / 7.5)
    yield "weight_packed", "I32", words(rounded(parts, widened(scales), -8, 7) + 8, 4)
    yield "weight_scale", "BF16", scales
    yield "weight_shape", "I64", np.array(w.shape, np.int64)


def channel_int8(w):
    scales = bf16(largest(w) / 127.5)[:, None]
    yield "weight", "I8", rounded(w[:, None], widened(scales), -128, 127).astype(np.int8)
    yield "weight_scale", "BF16", scales


def channel_fp8(w):
    scales = bf16(largest(w) / 448)[:, None]
    yield "weight", "F8_E4M3", signed(E4M3, 0x80, w / widened(scales))
    yield "weight_scale", "BF16", scales


def block_fp8(w):
    rows, cols = (-(-size // 128) for size in w.shape)
    padded = np.zeros((rows * 128, cols * 128), np.float32)
    padded[:w.shape[0], :w.shape[1]] = w
    scales = largest(padded.reshape(rows, 128, cols, 128).transpose(0, 2, 1, 3).reshape(rows, cols, -1)) / np.float32(448)
    spread = scales.repeat(128, 0).repeat(128, 1)[:w.shape[0], :w.shape[1]]
    yield "weight", "F8_E4M3", signed(E4M3, 0x80, w / spread)
    yield "weight_scale_inv", "F32", scales


def pairs(codes):
    """Two codes of 4 bits a byte, the first low."""
    return codes[..., ::2] | codes[..., 1::2] << 4


def nvfp4(w):
    parts = grouped(w, 16)
    whole = np.float32(448 * 6) / np.abs(w).max()
    scales = nearest(E4M3, largest(parts) / 6 * whole)
    steps = np.maximum(E4M3[scales], E4M3[1]) / whole
    yield "weight_packed", "U8", pairs(signed(E2M1, 8, parts / steps[..., None]).reshape(w.shape))
    yield "weight_scale", "F8_E4M3", scales
    yield "weight_global_scale", "F32", np.array([whole], np.float32)


def mxfp4(w):
    parts = grouped(w, 32)
    exponents = np.floor(np.log2(largest(parts))) - 2
    yield "weight_packed", "U8", pairs(signed(E2M1, 8, parts / np.exp2(exponents)[..., None]).reshape(w.shape))
    yield "weight_scale", "U8", (exponents + 127).astype(np.uint8)


def nf4(w):
    parts = w.reshape(-1, GROUP)
    scales = largest(parts).astype(np.float32)
    codes = nearest(NF4, parts / scales[:, None]).reshape(-1)
    state = {"quant_type": "nf4", "blocksize": GROUP, "dtype": "bfloat16", "shape": list(w.shape)}
    yield "weight", "U8", pairs(codes.reshape(-1, 2)[:, ::-1].reshape(-1))[:, None]  # here the first of two is high
    yield "weight.absmax", "F32", scales
    yield "weight.quant_map", "F32", NF4
    yield "weight.quant_state.bitsandbytes__nf4", "U8", np.frombuffer(json.dumps(state).encode(), np.uint8)


def bnb_int8(w):
    scales = largest(w).astype(np.float32)
    yield "weight", "I8", rounded(w[:, None], scales[:, None] / 127, -127, 127).astype(np.int8)
    yield "SCB", "F32", scales


def compressed(kind, **weights):
    weights = {"symmetric": True, "dynamic": False, **weights}
    return {"quant_method": "compressed-tensors", "format": kind, "quantization_status": "compressed", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}}}


def gptq_config(bits):
    return {"quant_method": "gptq", "bits": bits, "group_size": GROUP, "desc_act": False, "sym": True}


FORMATS = {  # name: (what the table calls it, tensors of a layer, quantization_config)
    "bf16": ("bf16", plain, None),
    "gptq_int4": ("GPTQ int4, groups of 64", gptq(4), gptq_config(4)),
    "awq": ("AWQ gemm int4, groups of 64, zero points", awq,
            {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm", "zero_point": True}),
    "gptq_int8": ("GPTQ int8, groups of 64", gptq(8), gptq_config(8)),
    "ct_int8": ("compressed-tensors int8, channels", channel_int8, compressed("int-quantized", num_bits=8, type="int", strategy="channel")),
    "ct_fp8": ("compressed-tensors FP8, channels", channel_fp8, compressed("float-quantized", num_bits=8, type="float", strategy="channel")),
    "ct_int4": ("compressed-tensors int4, groups of 64", packed_int4,
                compressed("pack-quantized", num_bits=4, type="int", strategy="group", group_size=GROUP)),
    "block_fp8": ("FP8, blocks of 128 x 128", block_fp8,
                  {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}),
    "nvfp4": ("compressed-tensors NVFP4", nvfp4,
              compressed("nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group", group_size=16)),
    "mxfp4": ("compressed-tensors MXFP4", mxfp4, compressed("mxfp4-pack-quantized", num_bits=4, type="float", strategy="group", group_size=32)),
    "nf4": ("bitsandbytes NF4, blocks of 64", nf4, {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
    "bnb_int8": ("bitsandbytes INT8", bnb_int8, {"quant_method": "bitsandbytes", "load_in_8bit": True}),
}
WITH_INT8_HEAD = ("bf16", "gptq_int4")
LAYERS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
          "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
          "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}


class Source:
    """The GGUF file under the names, shapes and row order of a Hugging Face checkpoint."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)

    def value(self, key):
        return self.reader.fields[key].contents()

    def tensors(self):
        """(name without .weight, float32 values, whether it is a linear layer)."""
        heads = {"attn_q": self.value("llama.attention.head_count"), "attn_k": self.value("llama.attention.head_count_kv")}
        for t in self.reader.tensors:
            w = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
            parts = t.name.split(".")
            if parts[0] != "blk":
                yield {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}[parts[0]], w, False
                continue
            if parts[2] in heads:  # GGUF keeps the two halves that rope turns together in neighbouring rows
                w = w.reshape(heads[parts[2]], -1, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
            yield f"model.layers.{parts[1]}.{LAYERS[parts[2]]}", w, w.ndim == 2

    def config(self):
        v = self.value
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "bfloat16",
                "hidden_size": v("llama.embedding_length"), "intermediate_size": v("llama.feed_forward_length"),
                "num_hidden_layers": v("llama.block_count"), "num_attention_heads": v("llama.attention.head_count"),
                "num_key_value_heads": v("llama.attention.head_count_kv"), "max_position_embeddings": v("llama.context_length"),
                "rms_norm_eps": v("llama.attention.layer_norm_rms_epsilon"), "rope_theta": v("llama.rope.freq_base"),
                "vocab_size": v("llama.vocab_size"), "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
                "bos_token_id": v("tokenizer.ggml.bos_token_id"), "eos_token_id": v("tokenizer.ggml.eos_token_id")}

    def tokenizer(self):
        tokens = self.value("tokenizer.ggml.tokens")
        special = [i for i, kind in enumerate(self.value("tokenizer.ggml.token_type")) if kind == gguf.TokenType.CONTROL]
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        return {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None, "decoder": byte_level,
                "added_tokens": [{"id": i, "content": tokens[i], **flags} for i in special],
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
                "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens)}, "merges": self.value("tokenizer.ggml.merges")}}

    def tokenizer_config(self):
        tokens = self.value("tokenizer.ggml.tokens")
        return {"tokenizer_class": "GPT2Tokenizer", "chat_template": self.value("tokenizer.chat_template"),
                **{f"{end}_token": tokens[self.value(f"tokenizer.ggml.{end}_token_id")] for end in ("bos", "eos")}}


def save(path, tensors):
    """`tensors`: name to (dtype, values). The file appears whole or not at all."""
    header, offset = {}, 0
    for name, (dtype, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    part = path.with_suffix(".part")
    with open(part, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _, values in tensors.values():
            out.write(values.tobytes())
    part.rename(path)


def write(source, name):
    """The folder of one format, written if it is not there."""
    _, layer, quantization = FORMATS[name]
    folder = WORK / f"smollm2_{name}"
    if (folder / "model.safetensors").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    config = source.config() | ({"quantization_config": quantization} if quantization else {})
    for file, content in (("config", config), ("tokenizer", source.tokenizer()), ("tokenizer_config", source.tokenizer_config())):
        (folder / f"{file}.json").write_text(json.dumps(content))
    tensors = {}
    for path, w, is_linear in source.tensors():
        if is_linear:
            tensors.update({f"{path}.{end}": (dtype, values) for end, dtype, values in layer(w)})
        else:
            tensors[path + ".weight"] = ("BF16", bf16(w)) if w.ndim == 2 else ("F32", w)
    save(folder / "model.safetensors", tensors)
    return folder


def scores(model, o, *flags):
    return json.loads(quern("eval", model, "--text", o.text, "--max-tokens", o.tokens, "--context", o.context, "--against-float32", "--json", *flags))


def print_scores(title, inputs, s):
    change = 100 * (s["perplexity"] / s["float32_perplexity"] - 1)
    print(f"| {title} | {inputs} | {s['perplexity']:.4f} | {s['float32_perplexity']:.4f} | {change:+.4f} % | {s['kl_divergence']:.2e} | "
          f"{s['largest_kl_divergence']:.2e} | {100 * s['top1_agreement']:.2f} % |", flush=True)


def answer(model, prompt, *flags):
    return json.loads(quern("run", model, "--prompt", prompt, "--temperature", 0, "--max-tokens", ANSWER, "--json", *flags))["ids"]


def first_difference(a, b):
    """The place of the first token that differs, from 1; None where both are the same."""
    if a == b:
        return None
    return next((i for i, (x, y) in enumerate(zip(a, b), 1) if x != y), min(len(a), len(b)) + 1)


def print_answers(title, model):
    places = [first_difference(answer(model, p, "--cpu-activation", "bf16"), answer(model, p, "--dtype", "float32")) for p in PROMPTS]
    apart = [str(place) for place in places if place]
    print(f"| {title} | {len(PROMPTS) - len(apart)} of {len(PROMPTS)} | {', '.join(apart) or 'none'} |", flush=True)


def print_table(*columns):
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--gguf", default=str(ROOT / "build/models/smollm2-135m/model.gguf"))
    options.add_argument("--text", default=str(ROOT / "bench/prose.txt"))
    options.add_argument("--tokens", type=int, default=2000)
    options.add_argument("--context", type=int, default=1000)
    options.add_argument("--only", help="formats, by comma: gguf, " + ", ".join(FORMATS))
    o = options.parse_args()
    names = o.only.split(",") if o.only else ["gguf", *FORMATS]
    if unknown := set(names) - {"gguf", *FORMATS}:
        options.error(f"--only: no such format: {', '.join(sorted(unknown))}")
    source = Source(o.gguf)
    models = {n: ("GGUF, as it is", o.gguf) if n == "gguf" else (FORMATS[n][0], write(source, n)) for n in names}
    print_table("weights", "inputs", "perplexity", "float32 inputs", "difference", "KL divergence", "largest", "same best token")
    ids = scores(o.gguf, o, "--cpu-activation", "bf16")["ids"]
    for name, (title, model) in models.items():
        for inputs in ("bf16", "int8") if name != "bf16" else ("bf16",):  # int8 inputs are for quantized weights alone
            s = scores(model, o, "--cpu-activation", inputs)
            if s["ids"] != ids:
                sys.exit(f"{model}: the text has other ids than under the GGUF file's vocabulary")
            print_scores(title, inputs, s)
        if name in WITH_INT8_HEAD:
            print_scores(title + ", int8 head", "bf16", scores(model, o, "--cpu-activation", "bf16", "--int8-head"))
    print_table("weights", f"greedy answers equal ({ANSWER} tokens)", "first tokens that differ")
    for title, model in models.values():
        print_answers(title, model)


if __name__ == "__main__":
    main()
