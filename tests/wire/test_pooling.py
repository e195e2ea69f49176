# SPDX-License-Identifier: Apache-2.0
"""Embeddings, scores, rankings and classes, against numbers of transformers (pooling_reference.py) and through the official client."""
import base64
import json
import urllib.error
import urllib.request

import numpy
import openai
import pytest

import pooling_folders as folders
from conftest import ROOT, Server, run

EXPECTED = json.loads((ROOT / "tests/data/pooling/expected.json").read_text())
FLAGS = ["--dtype", "float32", "--max-model-len", 512, "--max-num-seqs", 8]
CLOSE = {"atol": 1e-4, "rtol": 1e-3}  # float32 both


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    parent = tmp_path_factory.mktemp("pooling")
    return {name: folders.make(name, parent) for name in folders.FOLDERS}


@pytest.fixture(scope="module")
def serve(made):
    """A server of a folder with these flags; each is started once."""
    started = {}

    def start(name, *flags):
        if (name, flags) not in started:
            started[name, flags] = Server(made[name], *FLAGS, *flags)
        return started[name, flags]

    yield start
    for server in started.values():
        assert server.process.poll() is None, "a server died under the tests"
        assert server.stop()[0] == 0


def post(server, path, body):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]


def embed(server, texts, **fields):
    answer = server.client().embeddings.create(model=server.model, input=texts, encoding_format="float", **fields)
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return numpy.array([item.embedding for item in answer.data], dtype=numpy.float32)


CLS = ["--pooler-config", '{"pooling_type": "CLS"}']


@pytest.mark.parametrize("folder, flags, key", [("last", [], "last"), ("mean", [], "mean"), ("last", CLS, "cls")])
def test_embeddings_are_those_of_the_reference(serve, folder, flags, key):
    server = serve(folder, *flags)
    got = embed(server, folders.TEXTS)
    numpy.testing.assert_allclose(got, EXPECTED[key], **CLOSE)
    length = numpy.linalg.norm(got, axis=1)
    if key == "mean":
        assert (abs(length - 1) > 0.1).all()
        numpy.testing.assert_allclose(numpy.linalg.norm(embed(server, folders.TEXTS, extra_body={"normalize": True}), axis=1), 1, atol=1e-5)
    else:
        numpy.testing.assert_allclose(length, 1, atol=1e-5)


@pytest.mark.parametrize("degrees", [["-tp", 2], ["-tp", 3], ["-pp", 2], ["-tp", 2, "-pp", 2]])
@pytest.mark.parametrize("folder", ["last", "mean"])
def test_any_degree_gives_the_same(serve, folder, degrees):
    numpy.testing.assert_allclose(embed(serve(folder, *degrees), folders.TEXTS), EXPECTED[folder], atol=2e-3)


def test_classes_on_two_ranks(serve):
    status, answer = post(serve("classes", "-tp", 2), "/classify", {"input": folders.TEXTS})
    assert status == 200
    numpy.testing.assert_allclose([item["probs"] for item in answer["data"]], EXPECTED["classes"], atol=2e-3)


@pytest.mark.parametrize("folder", ["last", "mean"])
def test_a_vector_is_the_same_bit_by_bit_in_any_company(serve, folder):
    server = serve(folder, "--max-num-batched-tokens", 48, "--block-size", 8)
    alone = [embed(serve(folder), text)[0] for text in folders.TEXTS]
    for _ in range(2):  # and behind cached blocks
        many = embed(server, folders.TEXTS * 9)
        for i, vector in enumerate(many):
            assert (vector == alone[i % len(folders.TEXTS)]).all(), i


def test_both_encodings_carry_the_same_floats(serve):
    server = serve("last")
    client = server.client()
    floats = embed(server, folders.TEXTS)
    default = client.embeddings.create(model=server.model, input=folders.TEXTS)  # the client asks for base64 and unpacks it
    assert (numpy.array([item.embedding for item in default.data], dtype=numpy.float32) == floats).all()
    status, raw = post(server, "/v1/embeddings", {"input": folders.TEXTS, "encoding_format": "base64"})
    assert status == 200 and raw["object"] == "list" and raw["id"].startswith("embd-")
    for item, vector in zip(raw["data"], floats):
        assert (numpy.frombuffer(base64.b64decode(item["embedding"]), "<f4") == vector).all()


def test_inputs_of_every_kind(serve):
    server = serve("mean")
    text = folders.TEXTS[1]
    status, tokens = post(server, "/tokenize", {"prompt": text})
    assert status == 200
    one = embed(server, text)
    assert (embed(server, tokens["tokens"]) == one).all()
    assert (embed(server, [tokens["tokens"], tokens["tokens"]]) == one).all()
    answer = server.client().embeddings.create(model=server.model, input=folders.TEXTS)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(EXPECTED["tokens"])
    cut = embed(server, text, extra_body={"truncate_prompt_tokens": 5})
    assert (cut == embed(server, EXPECTED["cut"])).all()  # the beginning, and what the tokenizer puts around it
    chat = post(server, "/v1/embeddings", {"messages": [{"role": "user", "content": text}]})
    assert chat[0] == 200 and len(chat[1]["data"]) == 1


def test_scores_and_rankings_of_embeddings(serve):
    server = serve("last")
    vectors = numpy.array(EXPECTED["last"])
    angles = vectors @ vectors[0]
    for path, names in [("/score", ("text_1", "text_2")), ("/v1/score", ("queries", "documents"))]:
        status, answer = post(server, path, {names[0]: folders.TEXTS[0], names[1]: folders.TEXTS})
        assert status == 200
        numpy.testing.assert_allclose([item["score"] for item in answer["data"]], angles, atol=1e-4)
    for path in ["/rerank", "/v1/rerank", "/v2/rerank"]:
        status, answer = post(server, path, {"query": folders.TEXTS[0], "documents": folders.TEXTS, "top_n": 3})
        assert status == 200
        best = numpy.argsort(-angles)[:3]
        assert [item["index"] for item in answer["results"]] == list(best)
        assert [item["document"]["text"] for item in answer["results"]] == [folders.TEXTS[i] for i in best]


def test_classes_and_scores_of_a_head(serve):
    server = serve("classes")
    status, answer = post(server, "/classify", {"input": folders.TEXTS})
    assert status == 200
    numpy.testing.assert_allclose([item["probs"] for item in answer["data"]], EXPECTED["classes"], **CLOSE)
    labels = folders.FOLDERS["classes"][2]["labels"]
    assert [item["label"] for item in answer["data"]] == [labels[numpy.argmax(probs)] for probs in EXPECTED["classes"]]
    status, error = post(server, "/score", {"text_1": "a", "text_2": "b"})
    assert status == 400 and "3 classes" in error["message"]
    pairs = serve("pairs")
    first, second = zip(*folders.PAIRS)
    status, answer = post(pairs, "/score", {"text_1": first, "text_2": second})
    assert status == 200
    numpy.testing.assert_allclose([item["score"] for item in answer["data"]], EXPECTED["pairs"], **CLOSE)
    status, one = post(pairs, "/score", {"text_1": first[1], "text_2": second[1]})
    assert one["usage"]["prompt_tokens"] == len(EXPECTED["pair_ids"])


def test_what_is_wrong_is_named(serve):
    server = serve("last")
    for body, param, words in [({"input": "x", "dimensions": 8}, "dimensions", "was not trained"),
                               ({"input": "x", "encoding_fromat": "float"}, "encoding_fromat", "did you mean encoding_format"),
                               ({"input": ["x"] * 2049}, "input", "the limit is 2048"), ({"input": "word " * 600}, "input", "truncate_prompt_tokens"),
                               ({"input": ""}, "input", "no tokens"), ({"input": [10**6]}, "input", "vocabulary"), ({}, "input", "missing")]:
        status, error = post(server, "/v1/embeddings", body)
        assert status == 400 and error["param"] == param and words in error["message"], body
    with pytest.raises(openai.NotFoundError, match="--runner generate"):
        server.client().chat.completions.create(model=server.model, messages=[{"role": "user", "content": "hi"}])
    assert post(server, "/classify", {"input": "x"})[0] == 404
    assert server.metric("vllm:request_success_total") > 0 and server.metric("vllm:prompt_tokens_total") > 0


def test_a_server_that_generates_says_how(smollm):
    for path, body in [("/v1/embeddings", {"input": "x"}), ("/score", {"text_1": "a", "text_2": "b"}),
                       ("/v2/rerank", {"query": "a", "documents": ["b"]}), ("/classify", {"input": "x"})]:
        status, error = post(smollm, path, body)
        assert status == 404 and "--runner pooling" in error["message"], path


def test_a_generating_model_can_be_asked_for_its_hidden_states():
    server = Server("smollm2-135m", "--runner", "pooling", "--max-model-len", 512)
    vectors = embed(server, ["The capital of France is Paris.", "Paris is the capital of France.", "How do I bake bread?"])
    numpy.testing.assert_allclose(numpy.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert server.stop()[0] == 0


def test_starts_that_are_refused(made, tmp_path):
    def refused(*arguments):
        code, _, err = run("serve", *arguments, "--port", 0)
        assert code != 0
        return err

    assert "no classification head" in refused(made["last"], "--convert", "classify")
    assert "expected LAST, MEAN or CLS" in refused(made["last"], "--pooler-config", '{"pooling_type": "STEP"}')
    assert "see or hear" in refused(ROOT / "tests/golden/qwen2_vl", "--runner", "pooling")
    assert "--runner pooling" in refused(made["last"], "--runner", "generate")
    assert "generates no tokens to guess" in refused(made["last"], "--speculative-config", '{"method": "ngram", "num_speculative_tokens": 2}')
    folder = folders.make("last", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "is_causal": False}))
    assert "attends in both directions" in refused(folder)


@pytest.mark.parametrize("name", ["last", "classes"])
def test_plan_knows_what_serve_takes(made, name):
    code, out, err = run("plan", made[name], "--json", "--max-model-len", 512, "--max-num-seqs", 8)
    assert code == 0, err
    as_generated = run("plan", folders.GOLDEN / "qwen2_tied", "--json", "--max-model-len", 512, "--max-num-seqs", 8)[1]
    logits = [json.loads(text)["ranks"][0]["bytes"]["logits"] for text in (out, as_generated)]
    assert logits[0] < logits[1] / 4
