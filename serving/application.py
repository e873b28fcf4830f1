"""What the server answers: the page, predictions, heat maps, and errors as JSON with a reason."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, jsonify, request
from PIL import Image
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, InternalServerError, NotFound, ServiceUnavailable

from data.photographs import PhotographBytes, PhotographError
from plots.embedded import data_uri, encoded
from prediction.predictions import Prediction, plain_record, prediction_of
from serving.chinese_reasons import REASONS
from serving.connections import MAX_UPLOAD
from serving.decoding import Decoder
from serving.host_names import HostNames
from serving.model_queue import BusyError, ModelQueue
from serving.page import HEADERS, page_and_policy
from serving.served_network import ServedNetwork
from serving.uploads import UploadRequest, photographs_of

TOP = 5  # classes of each photograph, unless the request names another number
UNREADABLE = 422  # where none of a request's photographs can be read


class Service:
    """The networks and the ways to them. ``unsure_below``: as --unsure_below."""

    def __init__(self, networks: list[ServedNetwork], queue: ModelQueue, unsure_below: float | None):
        self.networks, self.queue, self.unsure_below = networks, queue, unsure_below
        self.decoder = Decoder()

    def chosen(self, name: str | None) -> list[ServedNetwork]:
        """The network of this name; all for None. Raises BadRequest."""
        found = [network for network in self.networks if name in (None, network.name)]
        if not found:
            raise BadRequest(f"net: one of {', '.join(network.name for network in self.networks)}")
        return found

    def predict(
        self, photographs: list[PhotographBytes], networks: list[ServedNetwork], top: int, preview: bool
    ) -> tuple[list[dict[str, Any]], int]:
        """(records, HTTP status): for each photograph one record a network, as predict.py writes them.

        With several networks a record has ``network`` besides. ``preview``: also a small picture of what the network sees.
        """
        records: list[list[dict[str, Any]]] = []
        waiting, readable = [], 0
        for photograph in photographs:
            try:
                pixels = self.decoder.pixels(photograph, networks)
            except PhotographError as error:
                problem = plain_record(Prediction(photograph.name, [], str(error)), False)
                records.append([{**problem, **self._network_of(network)} for network in networks])
                continue
            readable += 1
            answers = [{} for _ in networks]
            records.append(answers)
            for answer, network, seen in zip(answers, networks, pixels):
                waiting.append((answer, photograph.name, network, seen, self.queue.submit(network.predict, seen)))
        for answer, name, network, seen, future in waiting:
            prediction = prediction_of(name, future.result(), network.classes, top, self.unsure_below)
            answer.update(plain_record(prediction, self.unsure_below is not None), **self._network_of(network))
            if preview:
                answer["preview"] = _picture(seen)
        return [record for of_photograph in records for record in of_photograph], 200 if readable else UNREADABLE

    def explain(self, photograph: PhotographBytes, network: ServedNetwork, class_name: str | None) -> dict[str, Any]:
        """Grad-CAM of one class, by default the predicted one: the photograph as the network sees it, and the heat map.

        Raises PhotographError, BadRequest.
        """
        if class_name is not None and class_name not in network.classes:
            raise BadRequest("class: not a class of this network")
        [pixels] = self.decoder.pixels(photograph, [network])
        if class_name is None:
            label = int(self.queue.submit(network.predict, pixels).result().argmax())
        else:
            label = network.classes.index(class_name)
        explained = self.queue.submit(network.explain, (pixels, label)).result()
        heat = io.BytesIO()
        explained.heat.save(heat, "PNG")
        return {
            "network": network.name,
            "class": network.classes[label],
            "photograph": _picture(pixels),
            "heat": encoded(heat.getvalue(), "png"),
            "empty": explained.empty,
        }

    def _network_of(self, network):
        return {"network": network.name} if len(self.networks) > 1 else {}


def create_application(service: Service, names: HostNames) -> Flask:
    """The WSGI application; it answers only requests that call the server by one of ``names``."""
    application = Flask(__name__, static_folder=None, template_folder=None)
    application.request_class = UploadRequest
    application.json.ensure_ascii = False  # type: ignore[attr-defined]
    application.json.sort_keys = False  # type: ignore[attr-defined]
    page, policy = page_and_policy(
        {
            "networks": [network.name for network in service.networks],
            "maxBytes": MAX_UPLOAD,
            "top": TOP,
            "reasons": {"zh": REASONS},
        }
    )

    @application.before_request
    def check_sender() -> None:
        if not names.allow(request.headers.get("Host", "")):
            raise Forbidden("the Host header names another machine: --allow_hosts NAME lets browsers use this name")
        origin = request.headers.get("Origin")
        if origin is not None and _host_of(origin) != request.headers["Host"].lower():
            raise Forbidden("the request comes from a page of another site")

    @application.after_request
    def protect(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @application.get("/")
    def show_page() -> Response:
        return Response(page, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": policy})

    @application.get("/healthz")
    def tell_health() -> Response:
        return jsonify(status="ok", networks=[network.name for network in service.networks], waiting=service.queue.admitted_now)

    @application.post("/api/predict")
    def predict() -> tuple[Response, int]:
        networks = service.chosen(request.args.get("net"))
        top, preview = _whole_number("top", TOP, 1000), request.args.get("preview") == "1"
        photographs = photographs_of(request)
        with service.queue.admitted(len(photographs)):
            records, status = service.predict(photographs, networks, top, preview)
        return jsonify(records), status

    @application.post("/api/gradcam")
    def explain() -> Response:
        network = service.chosen(request.args.get("net"))[0]
        photographs = photographs_of(request)
        if len(photographs) > 1:
            raise BadRequest("one photograph at a time")
        with service.queue.admitted(1):
            return jsonify(service.explain(photographs[0], network, request.args.get("class")))

    _answer_errors(application)
    return application


def _answer_errors(application: Flask) -> None:
    """Errors become JSON objects with a ``reason``."""

    @application.errorhandler(BusyError)
    def busy(error: BusyError) -> tuple[Response, int, dict[str, str]]:
        return jsonify(reason=str(error)), ServiceUnavailable.code, {"Retry-After": "1"}

    @application.errorhandler(PhotographError)
    def unreadable(error: PhotographError) -> tuple[Response, int]:
        return jsonify(reason=str(error)), UNREADABLE

    @application.errorhandler(HTTPException)
    def refused(error: HTTPException) -> tuple[Response, int]:
        if isinstance(error, InternalServerError):  # Flask has logged the traceback
            return jsonify(reason="a fault of the server; its terminal says more"), 500
        reason = "there is no such page" if isinstance(error, NotFound) else error.description
        return jsonify(reason=reason), error.code or 500


def _host_of(origin: str) -> str:
    """The host of an Origin header, with its port; empty where it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # such as http://[
        return ""


def _whole_number(name: str, default: int, most: int) -> int:
    value = request.args.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdecimal() and len(value) < 10 and 1 <= int(value) <= most):
        raise BadRequest(f"{name}: a whole number from 1 to {most}")
    return int(value)


def _picture(pixels):
    """A JPEG of uint8 [3, S, S] as a data URI."""
    image = Image.fromarray(pixels.transpose(1, 2, 0))  # [3, S, S] -> [S, S, 3]
    return data_uri(image, max(image.size))
