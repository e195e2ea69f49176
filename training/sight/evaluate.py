# SPDX-License-Identifier: Apache-2.0
"""How often quern-sight is right, on fresh samples of each task, with intervals.

    python training/sight/evaluate.py --server http://127.0.0.1:8000/v1 [--samples 1000] [--seed 12345] [--only NAMES] [--json FILE]
    python training/sight/evaluate.py --transformers FOLDER             # the same samples through transformers' Qwen2-VL
    python training/sight/evaluate.py --compare A.json B.json           # how often two runs gave the same answer

Samples come from a seed that training never had; `_new` are in faces that it never had either (data.HELD_OUT). An answer is right if it is the
wanted text exactly. ± is Wilson's interval of 95 %.
"""
import argparse
import base64
import concurrent.futures
import io
import json
import math
import sys
import urllib.request

from PIL import Image

from data import Painter

# Name: painter -> (picture, question, answer).
TASKS = {
    "line_8": lambda p: line(p, 8), "line_8_new": lambda p: line(p, 8), "line_16": lambda p: line(p, 16), "line_16_new": lambda p: line(p, 16),
    "clean_8": lambda p: line(p, 8, 0.0), "shapes": lambda p: p.shapes(112), "labels": lambda p: p.labels(140), "labels_new": lambda p: p.labels(140)}


def line(painter, most, dirt=1.0):
    pixels, questions, answers, _ = painter.lines(1, painter.rng.randint(most // 2, most), (1, most), dirt)
    return Image.fromarray(pixels[0]), questions[0], answers[0]


def samples(name, count, seed):
    painter = Painter(seed, held_out=name.endswith("_new"))
    return [TASKS[name](painter) for _ in range(count)]


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


class Server:
    def __init__(self, url):
        self.url = url
        with urllib.request.urlopen(url + "/models", timeout=60) as answer:
            self.model = json.load(answer)["data"][0]["id"]

    def ask(self, sample):
        image, question, _ = sample
        url = "data:image/png;base64," + base64.b64encode(png(image)).decode()
        body = {"model": self.model, "temperature": 0, "max_tokens": 64, "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]}]}
        request = urllib.request.Request(self.url + "/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)["choices"][0]["message"]["content"]

    def answers(self, batch):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return list(pool.map(self.ask, batch))


class Transformers:
    def __init__(self, folder):
        import torch
        from transformers import AutoProcessor, Qwen2VLForConditionalGeneration
        self.torch = torch
        self.model = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.processor = AutoProcessor.from_pretrained(folder)

    def answers(self, batch):
        out = []
        for image, question, _ in batch:
            messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
            text = self.processor.apply_chat_template(messages, add_generation_prompt=True)
            inputs = self.processor(text=[text], images=[image], return_tensors="pt")
            with self.torch.no_grad():
                ids = self.model.generate(**inputs, max_new_tokens=64, do_sample=False)
            out.append(self.processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
        return out


def wilson(right, count, z=1.96):
    """(middle, half width) in percent."""
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    return 100 * middle, 100 * z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)


def compare(paths):
    a, b = (json.load(open(path)) for path in paths)
    for name in a:
        pairs = list(zip(a[name]["answers"], b[name]["answers"]))
        same = sum(x == y for x, y in pairs)
        gained = [sum((x == w) < (y == w) for (x, y), w in zip(pairs, a[name]["wanted"])), sum((x == w) > (y == w) for (x, y), w in zip(pairs, a[name]["wanted"]))]
        change = 100 * (gained[0] - gained[1]) / len(pairs)
        margin = 196 * math.sqrt(sum(gained) - (gained[0] - gained[1]) ** 2 / len(pairs)) / len(pairs)
        print(f"{name}: the same answer {100 * same / len(pairs):.2f} %; B is right {change:+.2f} ± {margin:.2f} points more often than A")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--server")
    args.add_argument("--transformers")
    args.add_argument("--compare", nargs=2)
    args.add_argument("--samples", type=int, default=1000)
    args.add_argument("--seed", type=int, default=12345)
    args.add_argument("--only", nargs="*", choices=TASKS, default=list(TASKS))
    args.add_argument("--json")
    options = args.parse_args()
    if options.compare:
        return compare(options.compare)
    if bool(options.server) == bool(options.transformers):
        sys.exit("state --server URL or --transformers FOLDER")
    reader = Server(options.server) if options.server else Transformers(options.transformers)
    report = {}
    for name in options.only:
        batch = samples(name, options.samples, options.seed)
        given, wanted = reader.answers(batch), [answer for _, _, answer in batch]
        right = sum(g == w for g, w in zip(given, wanted))
        middle, half = wilson(right, len(batch))
        print(f"{name}: {right} of {len(batch)} right, {middle:.1f} % ± {half:.1f}", flush=True)
        report[name] = {"answers": given, "wanted": wanted}
    if options.json:
        with open(options.json, "w") as out:
            json.dump(report, out)


if __name__ == "__main__":
    main()
