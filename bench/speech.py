#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GLM-TTS at its full shape with random weights: seconds of sound per second, time to the first sound of a stream, memory, and how far sound that is
made in blocks lies from sound that is made as a whole.

    python bench/speech.py [--characters 12] [--quantize] [--keep]

Writes the model's folder to build/bench/glm-tts (5.5 GB: language model in bf16, the rest in float32) and removes it again unless --keep. --quantize
holds the language model in 4 bits (quern quantize). Random weights say nothing, so a text is said to its greatest length or to where chance ends it:
what is measured is the work per second of sound. Needs numpy.
"""
import argparse
import base64
import json
import shutil
import sys
import time
import urllib.request

import numpy as np

from common import ROOT, WORK, quern, quiet_machine
from full_layer import Layer, bf16, rng
from served import Served

GOLDEN = ROOT / "tests/golden"
RATE = 24_000
FIRST_AUDIO, AUDIO = 61_498, 32_768


def normal(scale, count):
    """float32."""
    while count > 0:
        part = min(count, 1 << 22)
        yield (rng.standard_normal(part, np.float32) * np.float32(scale)).view(np.uint8)
        count -= part


class Part(Layer):
    """Tensors in float32 beside those in bf16."""

    def random(self, name, *shape, scale=0.02):
        self.add(name, "F32", list(shape), lambda: normal(scale, int(np.prod(shape))))

    def value(self, name, value, *shape):
        self.add(name, "F32", list(shape), lambda: iter([np.full(int(np.prod(shape)), value, np.float32).view(np.uint8)]))

    def linear(self, name, n, k, bias=True):
        self.random(name + ".weight", n, k)
        if bias:
            self.value(name + ".bias", 0, n)

    def weighed(self, name, first, *rest, out):
        """A convolution with weight normalisation: g and v, a bias for each output channel."""
        self.value(name + ".parametrizations.weight.original0", 1, first, 1, 1)
        self.random(name + ".parametrizations.weight.original1", first, *rest)
        self.value(name + ".bias", 0, out)


def language_model(folder):
    layer, d, inner = Part(), 2048, 6144
    config = json.loads((GOLDEN / "glm_tts_e2e/llm/config.json").read_text())
    config |= {"vocab_size": 98_304, "hidden_size": d, "intermediate_size": inner, "num_hidden_layers": 28, "num_attention_heads": 16,
               "num_key_value_heads": 4, "head_dim": 128, "torch_dtype": "bfloat16"}
    layer.floats("model.embed_tokens.weight", config["vocab_size"], d)
    layer.norm("model.norm.weight", d)
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        for name, n, k in (("self_attn.q_proj", d, d), ("self_attn.k_proj", 512, d), ("self_attn.v_proj", 512, d), ("self_attn.o_proj", d, d),
                           ("mlp.gate_proj", inner, d), ("mlp.up_proj", inner, d), ("mlp.down_proj", d, inner)):
            layer.floats(f"{at}{name}.weight", n, k)
        for name in ("input_layernorm", "post_attention_layernorm"):
            layer.norm(f"{at}{name}.weight", d)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    layer.write(folder / "model.safetensors")


def tokenizer(folder):
    """The golden's few ranks, with the published ids of what is needed by name."""
    folder.mkdir()
    source = GOLDEN / "glm_tts_e2e/vq32k-phoneme-tokenizer"
    shutil.copy(source / "tokenizer.model", folder)
    config = json.loads((source / "tokenizer_config.json").read_text())
    entry = next(iter(config["added_tokens_decoder"].values()))
    named = {59_246: "<|endoftext|>", 59_253: "<|user|>", 59_260: "<|begin_of_audio|>"}
    named |= {FIRST_AUDIO + i: f"<|audio_{i}|>" for i in range(AUDIO)}
    config["added_tokens_decoder"] = {str(i): entry | {"content": name} for i, name in named.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def flow(folder):
    part, at, d, inner, text, time_width = Part(), "estimator.", 768, 1536, 512, 960
    part.random(at + "text_emb_layer.text_embed.weight", 100_001, text)
    for i in range(4):
        block = f"{at}text_emb_layer.text_blocks.{i}."
        part.random(block + "dwconv.weight", text, 1, 7)
        part.value(block + "dwconv.bias", 0, text)
        part.value(block + "norm.weight", 1, text)
        part.value(block + "norm.bias", 0, text)
        part.linear(block + "pwconv1", 2 * text, text)
        part.random(block + "grn.gamma", 1, 1, 2 * text)
        part.random(block + "grn.beta", 1, 1, 2 * text)
        part.linear(block + "pwconv2", text, 2 * text)
    part.linear(at + "time_embed.time_mlp.0", d, 256)
    part.linear(at + "time_embed.time_mlp.2", d, d)
    part.linear(at + "emb_concator.proj", d, 672)
    for i in (0, 2):
        part.random(f"{at}emb_concator.conv_pos_embed.conv1d.{i}.weight", d, 48, 31)
        part.value(f"{at}emb_concator.conv_pos_embed.conv1d.{i}.bias", 0, d)
    inverse = (10_000.0 ** (-np.arange(32) / 32)).astype(np.float32)
    part.add(at + "rotary_embed.inv_freq", "F32", [32], lambda: iter([inverse.view(np.uint8)]))
    for i in range(18):
        block = f"{at}transformer_blocks.{i}."
        part.linear(block + "attn_norm.linear", 6 * d, time_width)
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            part.linear(block + "attn." + name, d, d)
        part.linear(block + "ff.ff.0.0", inner, d)
        part.linear(block + "ff.ff.2", d, inner)
    part.linear(at + "norm_out.linear", 2 * d, time_width)
    part.linear(at + "proj_out", 80, d)
    folder.mkdir()
    shutil.copy(GOLDEN / "glm_tts_e2e/flow/config.yaml", folder)
    part.write(folder / "flow.safetensors")


def vocoder(folder):
    part, base = Part(), 512

    def residual(name, channels, kernel):
        for j in range(3):
            for which in ("1", "2"):
                part.weighed(f"{name}.convs{which}.{j}", channels, channels, kernel, out=channels)
                part.value(f"{name}.activations{which}.{j}.alpha", 1, channels)

    part.weighed("conv_pre", base, 80, 7, out=base)
    sources = ((18, 30), (18, 6), (18, 1))
    for i, kernel in enumerate((16, 11, 7)):
        wide, channels = base >> i, base >> (i + 1)
        part.weighed(f"ups.{i}", wide, channels, kernel, out=channels)
        part.random(f"source_downs.{i}.weight", channels, *sources[i])
        part.value(f"source_downs.{i}.bias", 0, channels)
        residual(f"source_resblocks.{i}", channels, (7, 7, 11)[i])
        for j, size in enumerate((3, 7, 11)):
            residual(f"resblocks.{3 * i + j}", channels, size)
    part.weighed("conv_post", 18, 64, 7, out=18)
    part.random("m_source.l_linear.weight", 1, 9)
    part.value("m_source.l_linear.bias", 0, 1)
    for i in range(0, 10, 2):
        part.weighed(f"f0_predictor.condnet.{i}", 512, 512 if i else 80, 3, out=512)
    part.random("f0_predictor.classifier.weight", 1, 512)
    part.value("f0_predictor.classifier.bias", 150, 1)
    folder.mkdir()
    part.write(folder / "hift.safetensors")


def speech_tokenizer(folder):
    part, at, d, inner = Part(), "model.encoder.", 1280, 5120
    source = GOLDEN / "glm_tts_e2e/speech_tokenizer"
    config = json.loads((source / "config.json").read_text())
    config |= {"d_model": d, "encoder_attention_heads": 20, "encoder_ffn_dim": inner, "encoder_layers": 16, "num_hidden_layers": 16,
               "max_source_positions": 1500, "pooling_position": 16, "quantize_position": 16, "quantize_vocab_size": AUDIO}
    for name, channels in (("conv1", 128), ("conv2", d)):
        part.random(f"{at}{name}.weight", d, channels, 3)
        part.value(f"{at}{name}.bias", 0, d)
    part.random(at + "embed_positions.weight", 1500, d)
    part.random(at + "codebook.weight", AUDIO, d, scale=1)
    for i in range(16):
        block = f"{at}layers.{i}."
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            part.value(f"{block}{name}.weight", 1, d)
            part.value(f"{block}{name}.bias", 0, d)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            part.linear(f"{block}self_attn.{name}", d, d, bias=name != "k_proj")
        part.linear(block + "fc1", inner, d)
        part.linear(block + "fc2", d, inner)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(source / "preprocessor_config.json", folder)
    part.write(folder / "model.safetensors")


def write_model(folder):
    language_model(folder / "llm")
    tokenizer(folder / "vq32k-phoneme-tokenizer")
    flow(folder / "flow")
    vocoder(folder / "hift")
    speech_tokenizer(folder / "speech_tokenizer")
    (folder / "frontend").mkdir()
    shutil.copy(GOLDEN / "glm_tts_speaker/campplus.onnx", folder / "frontend")
    (folder / "voices").mkdir()
    shutil.copy(GOLDEN / "glm_tts_frontend/inputs/c.wav", folder / "voices/anna.wav")
    (folder / "voices/anna.txt").write_text("早上好。")


def say(server, text, in_blocks):
    """(seconds to the first sound, seconds in all, samples)"""
    body = {"input": text, "voice": "anna", "response_format": "pcm", "stream_format": "sse", "stream": in_blocks, "seed": 1}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/v1/audio/speech", json.dumps(body).encode(), {"Content-Type": "application/json"})
    begin, first, sound = time.monotonic(), None, b""
    with urllib.request.urlopen(request, timeout=3600) as answer:
        for line in answer:
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            if event["type"] == "speech.audio.delta":
                first = first or time.monotonic() - begin
                sound += base64.b64decode(event["audio"])
    return first, time.monotonic() - begin, np.frombuffer(sound, "<i2").astype(np.float64) / 32768


def difference(a, b):
    """Of two waves of one length, relative to the second: of the samples, and of how loud bands of 375 Hz are in frames of 1/50 s."""
    def bands(wave):
        frames = wave[:len(wave) // 480 * 480].reshape(-1, 480)
        power = np.abs(np.fft.rfft(frames * np.hanning(480))) ** 2
        return np.log(power[:, 1:225].reshape(len(frames), -1, 7).sum(-1) + 1e-8)
    return np.sqrt(np.mean((a - b) ** 2) / np.mean(b ** 2)), np.mean(np.abs(bands(a) - bands(b)))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--characters", type=int, default=12, help="of the text: with random weights each is a second of sound or so")
    options.add_argument("--quantize", action="store_true", help="the language model in 4 bits")
    options.add_argument("--keep", action="store_true", help="leave the model in build/bench")
    o = options.parse_args()
    folder = WORK / "glm-tts"
    if not folder.exists():
        print("writing the model", file=sys.stderr)
        write_model(folder)
    if o.quantize and not (folder / "llm-16").exists():
        quern("quantize", folder / "llm", folder / "llm-4", "--bits", 4)
        (folder / "llm").rename(folder / "llm-16")
        (folder / "llm-4").rename(folder / "llm")
    text = ("今天天气很好我们去公园" * 400)[:o.characters - 1] + "。"
    with quiet_machine():
        server = Served.quern(folder, "--voices", folder / "voices", "--max-num-seqs", 4, "--max-model-len", 4096)
        try:
            start = time.monotonic()
            say(server, "好。", False)
            print(f"first request, which listens to the voice: {time.monotonic() - start:.1f} s")
            for in_blocks in (False, True):
                first, whole, wave = say(server, text, in_blocks)
                seconds = len(wave) / RATE
                print(f"{'in blocks' if in_blocks else 'whole'}: {seconds:.1f} s of sound in {whole:.1f} s ({seconds / whole:.2f} x real time), the first after {first:.2f} s")
                if in_blocks:
                    samples, bands = difference(wave, before)
                    print(f"blocks against the whole: samples differ by {100 * samples:.1f} % (rms), bands by {bands:.3f} nepers of power on average")
                before = wave
            print(f"memory: {server.memory_mib():.0f} MiB resident")
        finally:
            server.stop()
    if not o.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
