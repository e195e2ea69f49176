# SPDX-License-Identifier: Apache-2.0
"""quern-sight's network: Qwen2-VL's architecture, written for batches of equal size.

Parameter names are those of published Qwen2-VL checkpoints (visual.*, model.*), so that exporting is saving. All pictures of
a batch have the same size, so the tower's attention is one batched product and no position differs between samples.
"""
import torch
import torch.nn.functional as F
from torch import nn

from data import SLOTS
from tokens import SIZE, SPECIAL

PATCH, MERGE, TIME = 14, 2, 2
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

CONFIG = {
    "architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", "torch_dtype": "bfloat16",
    "hidden_size": 256, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": SIZE, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True, "use_sliding_window": False,
    "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
    "bos_token_id": SPECIAL["<|endoftext|>"], "eos_token_id": SPECIAL["<|im_end|>"],
    "vision_start_token_id": SPECIAL["<|vision_start|>"], "vision_end_token_id": SPECIAL["<|vision_end|>"],
    "vision_token_id": SPECIAL["<|vision_pad|>"], "image_token_id": SPECIAL["<|image_pad|>"],
    "video_token_id": SPECIAL["<|video_pad|>"],
    "vision_config": {"depth": 6, "embed_dim": 128, "num_heads": 4, "mlp_ratio": 4, "in_chans": 3, "hidden_size": 256,
                      "patch_size": PATCH, "spatial_merge_size": MERGE, "temporal_patch_size": TIME,
                      "spatial_patch_size": PATCH},
}
CHARACTERS = 96  # nothing, then printable ASCII
PLACES = 20  # nothing, then places in a line


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def attend(q, k, v, causal=False):
    """In float32 even under autocast: in bfloat16 torch's backward pass of attention is five times slower on a CPU."""
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=causal)


class VisionBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(dim, 3 * dim), "proj": nn.Linear(dim, dim)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})

    def forward(self, h, cos, sin):
        b, p, d = h.shape
        q, k, v = self.attn["qkv"](self.norm1(h)).view(b, p, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        o = attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
        h = h + self.attn["proj"](o.transpose(1, 2).reshape(b, p, d))
        x = self.mlp["fc1"](self.norm2(h))
        return h + self.mlp["fc2"](x * torch.sigmoid(1.702 * x))


class Tower(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["embed_dim"]
        self.head_dim = d // c["num_heads"]
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, d, (TIME, PATCH, PATCH), (TIME, PATCH, PATCH), bias=False)})
        self.blocks = nn.ModuleList(VisionBlock(d, c["num_heads"]) for _ in range(c["depth"]))
        self.merger = nn.ModuleDict({"ln_q": nn.LayerNorm(d, 1e-6), "mlp": nn.Sequential(
            nn.Linear(4 * d, 4 * d), nn.GELU(), nn.Linear(4 * d, c["hidden_size"]))})

    def forward(self, patches, rows, cols):
        """patches [B, P, 588] (one of the two equal time halves) -> (patch features [B, P, d], tokens [B, P/4, D])."""
        w = self.patch_embed["proj"].weight.sum(2).flatten(1)  # a still picture fills both time slices alike
        h = F.linear(patches, w).float()  # under autocast too the stream that blocks add to stays float32
        quarter = self.head_dim // 4
        inv = 10000.0 ** (-torch.arange(quarter, dtype=torch.float32) / quarter)
        a = torch.cat((rows[:, None] * inv, cols[:, None] * inv), -1)
        a = torch.cat((a, a), -1)
        cos, sin = a.cos(), a.sin()
        for block in self.blocks:
            h = block(h, cos, sin)
        x = self.merger["ln_q"](h)
        b, p, d = x.shape
        return x, self.merger["mlp"](x.reshape(b, p // 4, 4 * d))


class RmsNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, f, self.h, self.g = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], c["num_key_value_heads"]
        self.e = d // self.h
        self.self_attn = nn.ModuleDict({
            "q_proj": nn.Linear(d, self.h * self.e), "k_proj": nn.Linear(d, self.g * self.e),
            "v_proj": nn.Linear(d, self.g * self.e), "o_proj": nn.Linear(self.h * self.e, d, bias=False)})
        self.mlp = nn.ModuleDict({"gate_proj": nn.Linear(d, f, bias=False), "up_proj": nn.Linear(d, f, bias=False),
                                  "down_proj": nn.Linear(f, d, bias=False)})
        self.input_layernorm, self.post_attention_layernorm = RmsNorm(d), RmsNorm(d)

    def forward(self, h, cos, sin):
        b, t, _ = h.shape
        n, a = self.input_layernorm(h), self.self_attn
        q = rotate(a["q_proj"](n).view(b, t, self.h, self.e).transpose(1, 2), cos, sin)
        k = rotate(a["k_proj"](n).view(b, t, self.g, self.e).transpose(1, 2), cos, sin)
        v = a["v_proj"](n).view(b, t, self.g, self.e).transpose(1, 2)
        repeat = self.h // self.g
        o = attend(q, k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1), causal=True)
        h = h + a["o_proj"](o.transpose(1, 2).reshape(b, t, -1))
        n, m = self.post_attention_layernorm(h), self.mlp
        return h + m["down_proj"](F.silu(m["gate_proj"](n)) * m["up_proj"](n))


class Sight(nn.Module):
    def __init__(self, config=CONFIG):
        super().__init__()
        self.config = config
        self.visual = Tower(config["vision_config"])
        self.model = nn.ModuleDict({
            "embed_tokens": nn.Embedding(config["vocab_size"], config["hidden_size"]),
            "layers": nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"])),
            "norm": RmsNorm(config["hidden_size"])})
        # Training only, not exported: names the character in each slot of a line, which teaches the tower letters, and says the how manieth it is,
        # which lets the decoder ask for the next by its number.
        self.reader = nn.Linear(2 * config["vision_config"]["embed_dim"], SLOTS * CHARACTERS)
        self.counter = nn.Linear(2 * config["vision_config"]["embed_dim"], SLOTS * PLACES)
        self.apply(initialise)

    def look(self, patches, grid):
        """patches [B, P, 588] -> (patch features [B, P, d], language-model tokens [B, P / 4, D])."""
        return self.visual(patches, *patch_coordinates(*grid))

    def slots(self, features, grid):
        """Patch features of lines one cell high -> logits [B, SLOTS * patch columns, CHARACTERS] and [..., PLACES]."""
        b, _, d = features.shape
        columns = features.view(b, grid[1] // 2, 2, 2, d).transpose(2, 3).reshape(b, grid[1], 2 * d)
        return self.reader(columns).view(b, -1, CHARACTERS), self.counter(columns).view(b, -1, PLACES)

    def answer(self, tokens, ids, positions, first, begin):
        """ids [B, T] with image_pad at [first, first + n); positions [3, T] -> logits [B, T - begin, V] from `begin` on."""
        h = self.model["embed_tokens"](ids)
        h = torch.cat((h[:, :first], tokens, h[:, first + tokens.shape[1]:]), 1)
        e = self.config["hidden_size"] // self.config["num_attention_heads"]
        inv = self.config["rope_theta"] ** (-torch.arange(e // 2, dtype=torch.float32) * 2 / e)
        axis = torch.repeat_interleave(torch.arange(3), torch.tensor(self.config["rope_scaling"]["mrope_section"]))
        a = positions[axis].T.float() * inv
        a = torch.cat((a, a), -1)
        cos, sin = a.cos(), a.sin()
        for layer in self.model["layers"]:
            h = layer(h, cos, sin)
        return F.linear(self.model["norm"](h[:, begin:]), self.model["embed_tokens"].weight)


# What is added to the residual stream begins small, so that at first each block passes its input on.
BRANCH = 0.2


def initialise(module):
    """Unit-variance maps, zero biases, branches scaled down; embeddings of the size of the other rows of the stream."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features ** -0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=module.embedding_dim ** -0.5)
    elif isinstance(module, nn.Conv3d):
        nn.init.normal_(module.weight, std=(module.weight[0].numel() * TIME) ** -0.5)
    if isinstance(module, (VisionBlock, Layer)):
        for name, p in module.named_parameters():
            if name.endswith(("attn.proj.weight", "fc2.weight", "o_proj.weight", "down_proj.weight")):
                p.data *= BRANCH


def patch_coordinates(gh, gw):
    """Row and column of each patch in merge-block order."""
    r, c = torch.meshgrid(torch.arange(gh), torch.arange(gw), indexing="ij")
    order = lambda t: t.view(gh // 2, 2, gw // 2, 2).transpose(1, 2).flatten().float()
    return order(r), order(c)


def to_patches(pixels):
    """uint8 [B, H, W, 3] -> float [B, P, 588] in merge-block order, one time slice; and the grid."""
    x = (torch.from_numpy(pixels).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    b, height, width, _ = x.shape
    gh, gw = height // PATCH, width // PATCH
    x = x.view(b, gh // 2, 2, PATCH, gw // 2, 2, PATCH, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
    return x.reshape(b, gh * gw, 3 * PATCH * PATCH), (gh, gw)
