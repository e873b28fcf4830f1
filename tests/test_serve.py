"""serve.py: photographs sent over HTTP are answered as predict.py answers, and strangers cannot stop it."""

import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, random_photograph
from damaged_photographs import damaged_photographs
from PIL import Image
from processes_started import heed_interruption

import predict
from machine import cache_folder
from config import Config, ConfigError, parse_config
from data.boxes import central_box
from data.photographs import PhotographBytes, PhotographError, claimed_pixels, read_crop
from inference import program_cache
from inference.predictor import EngineError
from networks.class_activation import grad_cam
from serving import connections, decoding, serve_networks, served_network
from serving.application import Service, create_application
from serving.chinese_reasons import REASONS
from serving.connections import listening_socket, serve_in_background
from serving.host_names import HostNames, url_of
from serving.model_queue import BusyError, ModelQueue
from serving.served_network import ServedNetwork
from trained.trained_run import TrainedRun

ROOT = Path(__file__).resolve().parent.parent
SERVE_TINY = (
    "import sys, networks; networks.NETWORKS['resnet'] = networks.Lazy('tiny_network', 'TinyNetwork')\n"
    "import serve; from machine import ending; from config import parse_config\n"
    "ending.leave(serve.main(parse_config(sys.argv[1:], 'serve')))"
)


@pytest.fixture(autouse=True)
def tiny_network(register_tiny_network):
    """The name resnet stands for a tiny network here."""


@pytest.fixture(scope="module", autouse=True)
def folder_of_programs(tmp_path_factory):
    """The programs of these tests stay out of the user's cache, which keeps only a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program_cache, "FOLDER", str(tmp_path_factory.mktemp("programs")))
        yield


@pytest.fixture
def run(tiny_run_place):
    return TrainedRun.open(tiny_run_place / "runs" / "resnet" / "001")


@contextlib.contextmanager
def computing(queue):
    """A thread computes what the queue has."""
    thread = threading.Thread(target=queue.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        queue.stop()
        thread.join(timeout=60)


@contextlib.contextmanager
def application(*runs, names=("resnet",), unsure_below=None, max_waiting=64, engine="dynamic"):
    queue = ModelQueue(max_waiting, batch_size=8)
    networks = [ServedNetwork(run, name, Config(engine=engine)) for run, name in zip(runs, names)]
    with computing(queue):
        yield create_application(Service(networks, queue, unsure_below), HostNames("127.0.0.1", ["photos.example"]))


@pytest.fixture
def client(run):
    with application(run) as app:
        yield app.test_client()


FOREIGN = ({"Host": "evil.example"}, {"Origin": "http://evil.example"})


@pytest.fixture
def address(run):
    """(host, port) of a server in this process."""
    with application(run) as app:
        listener = listening_socket("127.0.0.1", 0)
        serve_in_background(app, listener, 64)
        yield listener.getsockname()
        listener.close()


def encoded(seed=1, form="PNG", size=(48, 40)):
    buffer = io.BytesIO()
    random_photograph(seed, size).save(buffer, form)
    return buffer.getvalue()


def files(**contents):
    return {name: (io.BytesIO(content), f"{name}.png") for name, content in contents.items()}


def sent(address, raw, timeout=60):
    """All that the server answers to these bytes, up to its closing the connection."""
    with socket.create_connection(address, timeout=timeout) as connection:
        with contextlib.suppress(OSError):  # it may close before all is sent
            connection.sendall(raw)
        answer = b""
        with contextlib.suppress(OSError):
            while part := connection.recv(2**16):
                answer += part
    return answer


def posted(address, body, **headers):
    """(status, JSON) of a photograph as the body."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request("POST", "/api/predict", body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_the_answer_is_what_predict_writes(run, tmp_path):
    folder, output = tmp_path / "photographs", tmp_path / "predictions.json"
    folder.mkdir()
    random_photograph(5).save(folder / "a.png")
    random_photograph(6).save(folder / "b.jpg")
    random_photograph(7).convert("CMYK").save(folder / "c.tif")
    (folder / "d.jpg").write_bytes(encoded(8, "JPEG")[:300])
    words = ["--run", run.folder, "--images", folder, "--output", output, "--format", "json", "--top", 2, "--num_workers", 0]
    assert predict.main(parse_config([*map(str, words), "--unsure_below", "0.9", "--device", "cpu"], "predict")) == 0
    expected = json.loads(output.read_text(encoding="utf-8"))
    with application(run, unsure_below=0.9, engine="auto") as app:
        form = {"photograph": [(io.BytesIO(Path(record["path"]).read_bytes()), record["path"]) for record in expected]}
        answer = app.test_client().post("/api/predict?top=2", data=form)
    assert answer.status_code == 200
    assert "reason" in expected[3]
    for found, record in zip(answer.get_json(), expected):
        assert list(found) == list(record)
        assert [entry["name"] for entry in found.get("classes", [])] == [entry["name"] for entry in record.get("classes", [])]
        for entry, other in zip(found.pop("classes", []), record.pop("classes", [])):
            assert entry["confidence"] == pytest.approx(other["confidence"], abs=2e-6)
        assert found.pop("confidence", 0) == pytest.approx(record.pop("confidence", 0), abs=2e-6)
        assert found == record


def test_a_photograph_may_be_the_body_whatever_the_content_type(client):
    for content_type in (None, "image/png", "application/x-www-form-urlencoded", "application/octet-stream"):
        answer = client.post("/api/predict", data=encoded(), content_type=content_type)
        [record] = answer.get_json()
        assert (answer.status_code, record["path"]) == (200, "")
        assert sorted(entry["name"] for entry in record["classes"]) == sorted(CLASSES)


def test_a_request_without_a_readable_photograph_is_refused_with_the_reason(client):
    answer = client.post("/api/predict", data=b"no photograph")
    assert (answer.status_code, answer.get_json()) == (
        422,
        [{"path": "", "reason": "not an image, or in a format that is not read"}],
    )
    assert client.post("/api/gradcam", data=b"no photograph").get_json() == {
        "reason": "not an image, or in a format that is not read"
    }
    for empty, content_type in ((b"", None), ({"field": "text"}, "multipart/form-data")):
        answer = client.post("/api/predict", data=empty, content_type=content_type)
        assert answer.status_code == 400
        assert answer.get_json()["reason"].startswith("no photograph: ")


def test_wrong_requests_are_answered_with_a_reason(client):
    png = encoded()
    for answer, code, reason in (
        (client.get("/etc/passwd"), 404, "there is no such page"),
        (client.get("/api/predict"), 405, "not allowed"),
        (client.post("/api/predict?top=0", data=png), 400, "top: a whole number from 1 to 1000"),
        (client.post("/api/predict?net=vgg", data=png), 400, "net: one of resnet"),
        (client.post("/api/gradcam?class=lion", data=png), 400, "class: not a class of this network"),
        (client.post("/api/gradcam", data=files(a=png, b=png)), 400, "one photograph at a time"),
        (client.post("/api/predict", data={"a": [(io.BytesIO(png), "a.png")] * 33}), 413, "33 photographs, the most"),
    ):
        assert answer.status_code == code
        assert reason in answer.get_json()["reason"]


def test_several_networks_answer_side_by_side(run):
    with application(run, run, names=("one", "two")) as app:
        client = app.test_client()
        records = client.post("/api/predict", data=files(a=encoded(1), b=encoded(2), c=b"damaged")).get_json()
        assert [(record["path"], record["network"]) for record in records] == [
            (f"{name}.png", network) for name in "abc" for network in ("one", "two")
        ]
        assert records[0]["classes"] == records[1]["classes"] != records[2]["classes"]
        [record] = client.post("/api/predict?net=two", data=encoded(1)).get_json()
        assert (record["network"], record["classes"]) == ("two", records[0]["classes"])
        assert client.post("/api/gradcam?net=two", data=encoded(1)).get_json()["network"] == "two"


def test_a_heat_map_is_that_of_grad_cam_for_the_class_that_was_asked_for(run, client):
    png = encoded(3)
    pixels = ServedNetwork(run, "resnet", Config()).pixels(PhotographBytes("", png))
    for name in ("dog", None):
        label = CLASSES.index(name) if name else int(run.predict(pixels[None]).argmax())
        [heat], _ = grad_cam(run.classifier(), pixels[None], [label])
        answer = client.post(f"/api/gradcam?class={name}" if name else "/api/gradcam", data=png).get_json()
        assert (answer["class"], answer["empty"]) == (CLASSES[label], not heat.any())
        kind, _, content = answer["heat"].partition("base64,")
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))), int)
        assert (kind, picture.shape) == ("data:image/png;", (32, 32, 3))
        if heat.any():  # the colours grow brighter with the map
            assert picture.sum(axis=2).ravel()[heat.argmax()] > picture.sum(axis=2).ravel()[heat.argmin()]


def test_heat_maps_that_wait_together_take_bounded_memory(run, monkeypatch):
    batches = []

    def watched(classifier, images, classes):
        batches.append(len(images))
        return grad_cam(classifier, images, classes)

    monkeypatch.setattr(served_network, "grad_cam", watched)
    network = ServedNetwork(run, "resnet", Config())
    items = [(network.pixels(PhotographBytes("", encoded(seed))), seed % 3) for seed in range(10)]
    found = network.explain(items)
    assert batches == [4, 4, 2]
    for item, explained in zip(items, found):
        alone = network.explain([item])[0]
        np.testing.assert_allclose(np.asarray(explained.heat, int), np.asarray(alone.heat, int), atol=2)


def test_photographs_in_memory_are_read_as_those_on_the_disk(tmp_path):
    def read(source):
        try:
            return read_crop(source, central_box(16), 16).tobytes()
        except PhotographError as error:
            return str(error)

    differ = []
    for name, content in random.Random(0).sample(list(damaged_photographs()), 120):
        path = tmp_path / name.replace("/", "_")
        path.write_bytes(content)
        if read(path) != read(PhotographBytes(path.name, content)):
            differ.append(name)
    assert differ == []


def test_what_waits_for_a_network_is_computed_together():
    queue, batches = ModelQueue(max_waiting=9, batch_size=4), []

    def double(items):
        batches.append(items)
        return [2 * item for item in items]

    def fail(items):
        raise RuntimeError("out of memory")

    futures = [queue.submit(double, number) for number in range(3)]
    failing = queue.submit(fail, 0)
    futures += [queue.submit(double, number) for number in range(3, 7)]
    with computing(queue):
        assert [future.result(60) for future in futures] == [0, 2, 4, 6, 8, 10, 12]
        with pytest.raises(RuntimeError):
            failing.result(60)
        assert queue.submit(double, 5).result(60) == 10
    assert batches == [[0, 1, 2, 3], [4, 5, 6], [5]]


def test_a_network_that_cannot_go_on_ends_the_server():
    queue = ModelQueue(max_waiting=9, batch_size=4)

    def end(items):
        raise EngineError("engine = 'inference': its process ended with code -9")

    future = queue.submit(end, 1)
    with pytest.raises(EngineError):
        queue.run()
    with pytest.raises(EngineError):
        future.result(60)


def test_beyond_the_bound_senders_are_told_to_come_back(run):
    with application(run, max_waiting=2) as app:
        client = app.test_client()
        answer = client.post("/api/predict", data=files(a=encoded(), b=encoded(), c=encoded()))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.get_json()["reason"] == "0 photographs are waiting, the most are 2: try again later"
        assert client.post("/api/predict", data=files(a=encoded(), b=encoded())).status_code == 200
    queue = ModelQueue(1, 1)
    with queue.admitted(1), pytest.raises(BusyError), queue.admitted(1):
        pass
    with queue.admitted(1):
        pass


def test_a_fault_of_the_network_is_told_without_paths_and_the_next_request_is_answered(run, monkeypatch):
    def fail(self, pixels):
        raise RuntimeError(f"a fault in {__file__}")

    with application(run) as app, monkeypatch.context() as patch:
        patch.setattr(ServedNetwork, "predict", fail)
        app.logger.disabled = True
        answer = app.test_client().post("/api/predict", data=encoded())
        assert (answer.status_code, answer.get_json()) == (500, {"reason": "a fault of the server; its terminal says more"})
        patch.undo()
        assert app.test_client().post("/api/predict", data=encoded()).status_code == 200


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8060", True), ("localhost", True), ("LOCALHOST:99", True), ("[::1]:8060", True), ("photos.example", True),
        ("evil.example", False), ("127.0.0.1.evil.example", False), ("192.168.1.5:8060", False), ("localhost:x", False),
        ("", False), ("[::1", False), ("localhost@evil.example", False),
    ],
)  # fmt: skip
def test_only_known_names_of_the_server_are_answered(client, host, allowed):
    answer = client.get("/healthz", headers={"Host": host})
    assert answer.status_code == (200 if allowed else 403)
    assert allowed or "--allow_hosts" in answer.get_json()["reason"]


def test_a_server_for_other_machines_answers_to_addresses_but_to_no_foreign_name():
    names = HostNames("0.0.0.0")
    assert names.allow("192.168.1.5:8060")
    assert names.allow("[fe80::1]:8060")
    assert names.allow(socket.gethostname())
    assert not names.allow("evil.example")
    assert url_of("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert url_of("::1", 80) == "http://[::1]:80"


def test_pages_of_other_sites_are_refused(client):
    for origin in ("http://evil.example", "null", "http://localhost:1", "http://["):
        answer = client.post("/api/predict", data=encoded(), headers={"Origin": origin})
        assert (answer.status_code, answer.get_json()) == (403, {"reason": "the request comes from a page of another site"})
    answer = client.post("/api/predict", data=encoded(), headers={"Origin": "http://localhost"})
    assert answer.status_code == 200
    assert "Access-Control" not in str(answer.headers)


def test_the_page_loads_nothing_from_elsewhere_and_runs_its_own_script_only(client):
    answer = client.get("/")
    policy, page = answer.headers["Content-Security-Policy"], answer.get_data(as_text=True)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        [content] = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://|\sstyle=|\son\w+=|@import|url\(", page)
    served = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page)[1])
    assert served["networks"] == ["resnet"]


def test_both_languages_have_the_same_texts(client):
    page = client.get("/").get_data(as_text=True)
    english, chinese = (re.search(rf"  {name}: {{(.*?)}},\n", page, re.DOTALL)[1] for name in ("en", "zh"))
    keys = [re.findall(r"(\w+): \"", language) for language in (english, chinese)]
    assert keys[0] == keys[1]
    assert set(re.findall(r"data-text=\"(\w+)\"", page)) <= set(keys[0])
    for key in keys[0]:
        words = [re.search(rf"\b{key}: \"(.*?)\"", language)[1] for language in (english, chinese)]
        assert len({tuple(sorted(re.findall(r"{\d}", text))) for text in words}) == 1, key


def test_the_page_has_every_reason_in_chinese(client, run):
    answers = [client.post("/api/predict", data=content).get_json() for _, content in damaged_photographs() if content]
    reasons = {answer[0].get("reason") for answer in answers}
    reasons -= {None}
    assert len(reasons) > 5
    for request in ("/api/predict?net=other", "/api/gradcam?class=other", "/api/predict", "/nowhere"):
        reasons.add(client.post(request, data=b"" if request == "/api/predict" else encoded()).get_json()["reason"])
    several = client.post("/api/gradcam", data=files(a=encoded(), b=encoded()))
    reasons |= {several.get_json()["reason"], connections._too_large().body, connections._overloaded().body}
    reasons |= {client.post("/api/predict", headers=headers).get_json()["reason"] for headers in FOREIGN}
    with application(run, max_waiting=0) as app:
        reasons.add(app.test_client().post("/api/predict", data=encoded()).get_json()["reason"])
    reasons |= {"a fault of the server; its terminal says more", "too large for the memory"}
    for reason in reasons:
        texts = [(re.fullmatch(pattern, reason, re.DOTALL), text) for pattern, text in REASONS]
        found, text = next(((found, text) for found, text in texts if found), (None, ""))
        assert found, reason
        assert re.search("[\u4e00-\u9fff]", text)
        assert "{" not in text.format(*found.groups())


def test_a_large_photograph_is_decoded_alone(run, monkeypatch):
    monkeypatch.setattr(decoding, "LARGE", 3000)
    small, large = (PhotographBytes("", encoded(1, size=size)) for size in ((48, 40), (80, 60)))
    assert [claimed_pixels(small), claimed_pixels(large), claimed_pixels(PhotographBytes("", b"x"))] == [1920, 4800, 0]
    decoder, inside, most, trimmed = decoding.Decoder(slots=3), [], {"small": 0, "large": 0}, []
    monkeypatch.setattr(decoding, "return_freed_memory", lambda: trimmed.extend(inside or ["large"]))

    class Watched:
        view = ()

        def pixels(self, photograph):
            kind = "large" if photograph is large else "small"
            inside.append(kind)
            most[kind] = max(most[kind], len(inside))
            time.sleep(0.01)
            inside.remove(kind)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(decoder.pixels, photograph, [Watched()]) for photograph in [small, small, large] * 8]:
            done.result(60)
    assert most["large"] == 1
    assert trimmed == ["large"] * 8
    assert most["small"] <= 3


def test_too_large_an_upload_is_told_so(address, monkeypatch):
    monkeypatch.setattr(connections, "MAX_UPLOAD", 2**16)
    reason = {"reason": "the upload is larger than 0 MB: send fewer or smaller photographs"}
    assert posted(address, bytes(2**24)) == (413, reason)
    with contextlib.suppress(ConnectionError):  # of no stated length: it may be cut off before the client reads the answer
        assert posted(address, (bytes(2**15) for _ in range(4))) == (413, reason)
    head = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\n"
    assert sent(address, head + b"Content-Length: 99999999999999\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    assert sent(address, head + b"Expect: 100-continue\r\nContent-Length: 70000\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    assert posted(address, encoded())[0] == 200


def test_uploads_share_a_bounded_memory(address, monkeypatch):
    monkeypatch.setattr(connections, "MAX_BODIES", 2**20)
    head = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 600000\r\n\r\n"
    whole = head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + bytes(600000)

    def answered(code):
        for _ in range(300):  # the server sees in a moment that another sender has come or gone
            if sent(address, whole).startswith(b"HTTP/1.1 %d " % code):
                return True
            time.sleep(0.1)
        return False

    with socket.create_connection(address, timeout=60) as idle, socket.create_connection(address, timeout=60) as first:
        idle.sendall(head + b"\x89PNG")
        assert sent(address, whole).startswith(b"HTTP/1.1 422 "), "what a sender only announces keeps others out"
        first.sendall(head + bytes(500_000))
        assert answered(503)
        answer = sent(address, whole)
        assert b"Retry-After: 1" in answer
        assert b"too many uploads" in answer
        assert posted(address, encoded())[0] == 200
        first.sendall(bytes(100_000))
        assert first.recv(2**16).startswith(b"HTTP/1.1 422 "), "an upload that had begun does not come to its end"
    assert answered(422), "the memory of a sender that has gone is not free again"


def test_uploads_of_no_stated_length_share_the_memory_too(address, monkeypatch):
    monkeypatch.setattr(connections, "MAX_BODIES", 2**16)
    with contextlib.suppress(ConnectionError):  # it may be cut off before the client reads the answer
        assert posted(address, (bytes(2**15) for _ in range(4)))[0] == 503
    assert posted(address, encoded())[0] == 200


@pytest.mark.parametrize("endless", [b"1", b"0\r\nx"], ids=["size of a chunk", "trailer"])
def test_chunks_that_never_come_are_refused(address, endless):
    head = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert sent(address, head + endless + endless[-1:] * 2**20).startswith(b"HTTP/1.1 400 ")
    assert posted(address, encoded())[0] == 200


def test_a_slow_sender_is_cut_off_and_keeps_nobody_waiting(address, monkeypatch):
    slow = []
    for _ in range(30):
        slow.append(socket.create_connection(address, timeout=60))
        slow[-1].sendall(b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
    assert posted(address, encoded())[0] == 200
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1)  # which is too short for anybody on a machine that is busy
    cut_off = False
    for _ in range(300):  # a byte now and then keeps no connection alive
        try:
            slow[0].sendall(b"x")
            time.sleep(0.1)
        except OSError:
            cut_off = True
            break
    assert cut_off
    for connection in slow[1:]:
        with contextlib.suppress(OSError):  # it may be reset
            assert connection.recv(1) == b""
        connection.close()


FORM = b"Content-Type: multipart/form-data"
HOSTILE = {
    "shorter than it says": lambda body: (b"Content-Length: %d\r\n" % (len(body) // 2), body),
    "two lengths": lambda body: (b"Content-Length: 5\r\nContent-Length: 9\r\n", body),
    "no number": lambda body: (b"Content-Length: -5\r\n", body),
    "no chunks": lambda body: (b"Transfer-Encoding: chunked\r\n", b"zz\r\n" + body),
    "unknown coding": lambda body: (b"Transfer-Encoding: gzip\r\n", body),
    "no end of the form": lambda body: (FORM + b"; boundary=b\r\nContent-Length: %d\r\n" % (len(body) + 3), b"--b" + body),
    "no boundary": lambda body: (FORM + b"\r\nContent-Length: %d\r\n" % len(body), body),
    "a long header": lambda body: (b"X: " + b"y" * 2**16 + b"\r\n", b""),
    "as it is": lambda body: (b"Content-Length: %d\r\n" % len(body), body),
}  # fmt: skip


def test_a_hundred_hostile_senders_at_once_get_an_answer(address, capfd):
    photographs = random.Random(1).sample(list(damaged_photographs()), 100)
    kinds = list(HOSTILE)

    def send(number):
        head, body = HOSTILE[kinds[number % len(kinds)]](photographs[number][1])
        start = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        return sent(address, start + head + b"\r\n" + body)

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(send, range(100)))
    codes = [int(answer.split()[1]) for answer in answers if answer]
    assert set(codes) <= {200, 400, 413, 422, 431, 501, 503}
    whole = (
        "no end of the form",
        "no boundary",
        "as it is",
    )  # else what is left may reset the connection first
    assert all(answer for number, answer in enumerate(answers) if kinds[number % len(kinds)] in whole)
    for answer in answers:
        assert str(ROOT).encode() not in answer
        assert not answer or b"reason" in answer or b"classes" in answer
    assert posted(address, encoded())[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_an_address_that_cannot_be_served_on_is_named_with_the_remedy(monkeypatch):
    with listening_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port = {port}: another program uses it: give another port, or 0 for any"):
            listening_socket("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"host = 192\.0\.2\.1: not an address of this machine"):
        listening_socket("192.0.2.1", 0)

    def unknown(*arguments, **options):  # without asking the network, which may be slow to answer or not there
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConfigError, match=r"host = no\.such\.host: this machine knows no such address"):
        listening_socket("no.such.host", 0)


def test_runs_of_the_same_name_are_told_apart(run):
    assert serve_networks.distinct_names(["resnet 001", "resnet 001", "sa"]) == ["resnet 001", "resnet 001 (2)", "sa"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_the_script_serves_until_ctrl_c_and_ends_in_one_line(run, tmp_path, tmp_path_factory):
    words = ["--run", run.folder, "--host", "0.0.0.0", "--port", "0", "--device", "cpu", "--fused", "off", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE_TINY, *map(str, words)],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "TMPDIR": str(tmp_path),
            cache_folder.VARIABLE: str(tmp_path_factory.mktemp("cache")),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interruption,
    )
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"serving resnet 001 on http://127\.0\.0\.1:(\d+) \(Ctrl-C ends\)\n", line)
        assert found, line + process.stderr.read()
        address = "127.0.0.1", int(found[1])
        assert posted(address, encoded())[0] == 200
        held = socket.create_connection(address)  # keeps nothing alive
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        held.close()
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert [line for line in err.splitlines() if line.startswith(("warning", "serve.py"))] == [  # Paddle may say more
        f"warning: every machine that reaches port {address[1]} can send photographs: there is no password and no encryption; "
        f"--host 127.0.0.1 is for this machine alone",
        "serve.py: interrupted",
    ]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
