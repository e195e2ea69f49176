#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One layer of a large mixture at its real size, with random weights: time per token, the share of the memory roof, and what `quern plan` then says
of the whole model.

    python bench/full_layer.py {kimi_k2,glm46v} [--batch 1,16] [--tokens 32] [--expert-memory 2G] [--keep]

kimi_k2: 7168 wide, 384 experts of 2048, int4 in groups of 32 as Kimi-K2-Thinking stores them (9 GB); glm46v: 4096 wide, 128 experts of 1408, FP8 with a
scale for each row (2.4 GB). The checkpoint has this one layer, a vocabulary of a few hundred and, for GLM, a tower that is not used; it is written
to build/bench and removed again unless --keep. With --expert-memory a run follows whose experts stay in the file beyond so many bytes.
Needs numpy. A token reads what all tokens share and its 8 experts; of a batch the number of experts is the mean for choices spread evenly.
"""
import argparse
import json
import pathlib
import shutil
import struct
import tempfile

import numpy as np

from common import ROOT, WORK, quern, quiet_machine, roofs

GOLDEN = ROOT / "tests/golden"
CONFIGS = ROOT / "tests/data/configs"
rng = np.random.default_rng(0)
POOL = rng.integers(0, 256, 1 << 26, dtype=np.uint8)  # random bytes, read from any place


def random_bytes(count):
    """The pool from a random place, again and again."""
    while count > 0:
        begin = int(rng.integers(0, POOL.size // 2)) & ~7
        part = POOL[begin:begin + min(count, POOL.size - begin)]
        yield part
        count -= part.size


def bf16(count):
    """Values of both signs, at most 0.03."""
    for part in random_bytes(2 * count):
        yield (part.view(np.uint16) & 0xBCFF).view(np.uint8)


def fp8(count):
    """e4m3 without its two NaNs: at most 1.875."""
    for part in random_bytes(count):
        yield part & 0xBF


def constant(value, count):
    """bf16."""
    yield np.full(count, np.float32(value).view(np.uint32) >> 16, np.uint16).view(np.uint8)


class Layer:
    """Tensors by name: (dtype, shape, maker of their bytes). `shared` and `expert` count bytes."""

    def __init__(self):
        self.tensors, self.shared, self.expert = {}, 0, 0

    def add(self, name, dtype, shape, make):
        self.tensors[name] = (dtype, shape, make)

    def norm(self, name, size):
        self.add(name, "BF16", [size], lambda: constant(1, size))

    def floats(self, name, *shape, counts=True):
        count = int(np.prod(shape))
        self.shared += 2 * count * counts
        self.add(name, "BF16", list(shape), lambda: bf16(count))

    def router(self, name, experts, hidden):
        self.floats(name + ".weight", experts, hidden)
        self.add(name + ".e_score_correction_bias", "F32", [experts], lambda: iter([np.zeros(4 * experts, np.uint8)]))

    def int4(self, name, n, k):
        self.add(name + ".weight_packed", "I32", [n, k // 8], lambda: random_bytes(n * k // 2))
        self.add(name + ".weight_scale", "BF16", [n, k // 32], lambda: constant(0.004, n * k // 32))
        self.add(name + ".weight_shape", "I32", [2], lambda: iter([np.array([n, k], np.int32).view(np.uint8)]))
        return n * k // 2 + n * k // 16

    def rows8(self, name, n, k):
        self.add(name + ".weight", "F8_E4M3", [n, k], lambda: fp8(n * k))
        self.add(name + ".weight_scale", "BF16", [n, 1], lambda: constant(0.02, n))
        return n * k + 2 * n

    def write(self, path):
        header, at = {}, 0
        for name, (dtype, shape, _) in self.tensors.items():
            size = int(np.prod(shape)) * {"BF16": 2, "F32": 4, "I32": 4, "F8_E4M3": 1}[dtype]
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            for _, _, make in self.tensors.values():
                for part in make():
                    out.write(memoryview(part))


def kimi_k2(folder):
    """(config, layer) of one layer with experts; the tokenizer is the golden's."""
    config = json.loads((CONFIGS / "kimi-k2-thinking/config.json").read_text())
    small = json.loads((GOLDEN / "kimi_k2_int4/config.json").read_text())
    config |= {"num_hidden_layers": 1, "first_k_dense_replace": 0}
    config |= {key: small[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
    for name in ("tiktoken.model", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(GOLDEN / "kimi_k2_int4" / name, folder)
    d, heads, vocab = config["hidden_size"], config["num_attention_heads"], config["vocab_size"]
    q, kv, nope, rope = config["q_lora_rank"], config["kv_lora_rank"], config["qk_nope_head_dim"], config["qk_rope_head_dim"]
    value, inner = config["v_head_dim"], config["moe_intermediate_size"]
    layer, at = Layer(), "model.layers.0."
    layer.floats("model.embed_tokens.weight", vocab, d, counts=False)
    layer.floats("lm_head.weight", vocab, d)
    for name, size in (("model.norm", d), (at + "input_layernorm", d), (at + "post_attention_layernorm", d), (at + "self_attn.q_a_layernorm", q),
                       (at + "self_attn.kv_a_layernorm", kv)):
        layer.norm(name + ".weight", size)
    for name, n, k in (("q_a_proj", q, d), ("q_b_proj", heads * (nope + rope), q), ("kv_a_proj_with_mqa", kv + rope, d),
                       ("kv_b_proj", heads * (nope + value), kv), ("o_proj", d, heads * value)):
        layer.floats(f"{at}self_attn.{name}.weight", n, k)
    layer.router(at + "mlp.gate", config["n_routed_experts"], d)
    for name, n, k in (("gate_proj", inner, d), ("up_proj", inner, d), ("down_proj", d, inner)):
        layer.floats(f"{at}mlp.shared_experts.{name}.weight", n, k)
    for e in range(config["n_routed_experts"]):
        layer.expert = sum(layer.int4(f"{at}mlp.experts.{e}.{name}", n, k)
                           for name, n, k in (("gate_proj", inner, d), ("up_proj", inner, d), ("down_proj", d, inner)))
    return config, layer


def glm_tower(layer, vision):
    """What the loader wants of a tower; nothing of it is run."""
    d, out, at = vision["hidden_size"], vision["out_hidden_size"], "model.visual."
    for name in ("post_conv_layernorm", "post_layernorm", "blocks.0.norm1", "blocks.0.norm2"):
        layer.norm(f"{at}{name}.weight", d)
    layer.norm(at + "merger.post_projection_norm.weight", out)
    inner = vision["intermediate_size"]
    for name, *shape in (("blocks.0.attn.proj.weight", d, d), ("blocks.0.attn.qkv.weight", 3 * d, d), ("blocks.0.mlp.gate_proj.weight", out, d),
                         ("blocks.0.mlp.up_proj.weight", out, d), ("blocks.0.mlp.down_proj.weight", d, out), ("downsample.bias", out),
                         ("downsample.weight", out, d, 2, 2), ("embeddings.position_embedding.weight", (vision["image_size"] // 14) ** 2, d),
                         ("merger.proj.weight", out, out), ("merger.gate_proj.weight", inner, out), ("merger.up_proj.weight", inner, out),
                         ("merger.down_proj.weight", out, inner), ("merger.post_projection_norm.bias", out), ("patch_embed.proj.bias", d),
                         ("patch_embed.proj.weight", d, 3, 2, 14, 14)):
        layer.floats(at + name, *shape, counts=False)


def glm46v(folder):
    config = json.loads((CONFIGS / "glm-4.6v-fp8/config.json").read_text())
    small = json.loads((GOLDEN / "glm46v_moe_fp8_channel/config.json").read_text())
    text = config["text_config"]
    text |= {"num_hidden_layers": 1, "first_k_dense_replace": 0, "vocab_size": small["text_config"]["vocab_size"]}
    text |= {key: small["text_config"][key] for key in ("eos_token_id", "pad_token_id")}
    config |= {key: value for key, value in small.items() if key.endswith("_token_id")}
    config["vision_config"] = small["vision_config"] | {"depth": 1, "out_hidden_size": text["hidden_size"]}
    for path in (GOLDEN / "glm46v_moe_fp8_channel").iterdir():
        if path.suffix in (".json", ".jinja") and path.name not in ("config.json", "expected.json"):
            shutil.copy(path, folder)
    d, size, inner = text["hidden_size"], text["head_dim"], text["moe_intermediate_size"]
    q, kv = text["num_attention_heads"] * size, text["num_key_value_heads"] * size
    layer, at = Layer(), "model.language_model.layers.0."
    layer.floats("model.language_model.embed_tokens.weight", text["vocab_size"], d, counts=False)
    layer.floats("lm_head.weight", text["vocab_size"], d)
    for name in ("model.language_model.norm", at + "input_layernorm", at + "post_attention_layernorm"):
        layer.norm(name + ".weight", d)
    for name, n, k in (("q_proj", q, d), ("k_proj", kv, d), ("v_proj", kv, d), ("o_proj", d, q)):
        layer.shared += layer.rows8(f"{at}self_attn.{name}", n, k)
        if name != "o_proj":
            layer.floats(f"{at}self_attn.{name}.bias", n)
    layer.router(at + "mlp.gate", text["n_routed_experts"], d)
    linears = (("gate_proj", inner, d), ("up_proj", inner, d), ("down_proj", d, inner))
    layer.shared += sum(layer.rows8(f"{at}mlp.shared_experts.{name}", n, k) for name, n, k in linears)
    for e in range(text["n_routed_experts"]):
        layer.expert = sum(layer.rows8(f"{at}mlp.experts.{e}.{name}", n, k) for name, n, k in linears)
    glm_tower(layer, config["vision_config"])
    return config, layer


FAMILIES = {"kimi_k2": (kimi_k2, "kimi-k2-thinking", 61), "glm46v": (glm46v, "glm-4.6v-fp8", 46)}


def written(family, folder):
    folder.mkdir(parents=True, exist_ok=True)
    config, layer = FAMILIES[family][0](folder)
    (folder / "config.json").write_text(json.dumps(config))
    if not (folder / "model.safetensors").exists():
        layer.write(folder / "model.part")
        (folder / "model.part").rename(folder / "model.safetensors")
    return config.get("text_config", config), layer


def measure(folder, options, extra=()):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        quern("bench", "latency", folder, "--input-len", 32, "--output-len", options.tokens, "--batch-size", options.batch, "--num-iters", 3,
              "--max-model-len", 1024, "--log-level", "info", "--json", out.name, *extra)
        result = json.load(open(out.name))
    return result.get("runs", [result])


def say_runs(runs, text, layer, roof):
    experts, chosen = text["n_routed_experts"], text["num_experts_per_tok"]
    for run in runs:
        batch = run["batch_size"]
        distinct = experts * (1 - (1 - chosen / experts) ** batch)
        step = batch / run["decode_tok_s"]
        read = (layer.shared + distinct * layer.expert) / 1e9
        print(f"batch {batch}: {1e3 * step / batch:.1f} ms a token, {1e3 * step:.1f} ms a step; {distinct:.0f} experts, {read:.3f} GB a step: "
              f"{read / step:.1f} GB/s, {100 * read / step / roof:.0f} % of the read roof")


def say_plans(config):
    for device in ("8x h100", "8x h200", "8x a100-80g"):
        plan = json.loads(quern("plan", CONFIGS / config / "config.json", "--device", device, "--no-degrees", "--json"))
        print(f"{device}: {'fits' if plan['fits'] else 'does not fit'}, decode {plan['decode_tokens_per_s']:.0f} tokens/s at best")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--batch", default="1,16")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--expert-memory")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    folder = pathlib.Path(WORK) / f"layer_{options.family}"
    with quiet_machine():
        text, layer = written(options.family, folder)
        roof = roofs(options.threads)["read_gb_s"]
        print(f"{options.family}: an expert {layer.expert / 1e6:.1f} MB, what all tokens share {layer.shared / 1e6:.1f} MB; read roof {roof:.1f} GB/s")
        say_runs(measure(folder, options), text, layer, roof)
        if options.expert_memory:
            print(f"with --expert-memory {options.expert_memory}:")
            say_runs(measure(folder, options, ("--expert-memory", options.expert_memory)), text, layer, roof)
        print(f"the whole model, {FAMILIES[options.family][2]} layers, as planned:")
        say_plans(FAMILIES[options.family][1])
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
