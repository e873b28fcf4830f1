"""python -m exported.convert PROGRAM MODEL.onnx FACTS.json: a Paddle program as an ONNX model, with facts as its metadata.

Needs the packages of requirements-export.txt and Paddle 3; imports nothing of the toolkit.
"""

import json
import sys
from pathlib import Path

OPSET = 17  # of ONNX 1.12: every runtime since 2022 has it
INPUT, OUTPUT, BATCH = "images", "probabilities", "N"


def main(program, target, facts):
    import onnx  # both are optional: only an export to ONNX needs them
    import paddle2onnx

    program = Path(program)
    paddle2onnx.export(
        str(program), str(program.with_suffix(".pdiparams")), save_file=target, opset_version=OPSET, auto_upgrade_opset=False,
        optimize_tool="None",  # another one would be installed with pip
    )  # fmt: skip
    model = onnx.load(target)
    _give_names(model.graph)
    _gather_weights(model.graph)
    onnx.helper.set_model_props(model, json.loads(Path(facts).read_text(encoding="utf-8")))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def _give_names(graph):
    """Name input, output and their first dimension, which paddle2onnx numbers."""
    (entrance,), (exit_,) = graph.input, graph.output
    for old, new in ((entrance.name, INPUT), (exit_.name, OUTPUT)):
        for node in graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
    entrance.name, exit_.name = INPUT, OUTPUT
    for value in (entrance, exit_):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH


def _gather_weights(graph):
    """Make initializers of the constants, as other exporters do, and drop those that no node reads, of which runtimes warn."""
    read = {name for node in graph.node for name in node.input}
    for node in [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]:
        if node.output[0] in read:
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        graph.node.remove(node)


if __name__ == "__main__":
    main(*sys.argv[1:])
