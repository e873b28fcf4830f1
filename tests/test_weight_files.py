"""Weights of every format are read as they were written, and nothing that a file asks for is run."""

import json
import os
import pickle
import random
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import save, save_file
from test_plain_pickle import Touches
from torch_files import Call, Global, Persistent, Tensor, bfloat16, pickled, state_dict, write_legacy, write_zip

from trained.checkpoint import save_checkpoint
from weights.weight_files import WeightFileError, read_weights

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(0)
ARRAYS = {
    kind: (RNG.normal(0, 50, (3, 4, 2)) if kind != "b1" else RNG.integers(0, 2, (3, 4, 2))).astype(kind)
    for kind in ("f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "b1")
} | {"transposed": RNG.normal(size=(2, 5)).astype("f4").T, "scalar": np.array(7)}
FORMATS = {"zip": write_zip, "legacy": write_legacy}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, name)
        assert found[name].dtype == array.dtype, name


def refusal(path):
    with pytest.raises(WeightFileError) as error:
        read_weights(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{path} cannot be read: ")


# PyTorch


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_of_every_type_come_as_they_were_saved(tmp_path, form):
    weights = read_weights(FORMATS[form](tmp_path / "any.name", state_dict(ARRAYS)))
    assert weights.framework == "torch"
    same(weights.arrays, ARRAYS)


@pytest.mark.parametrize("form", FORMATS)
def test_bfloat16_is_widened_and_views_share_their_storage(tmp_path, form):
    base = np.arange(30, dtype="f4").reshape(6, 5)
    views = {
        "base": Tensor(base, key="0"),
        "rows": Tensor(base, key="0", start=5, shape=(3, 5), strides=(5, 1)),
        "columns": Tensor(base, key="0", start=1, shape=(6, 2), strides=(5, 2)),
        "one": Tensor(base, key="0", start=29, shape=(1, 1), strides=(0, -7)),
        "bfloat16": bfloat16([1.5, -2.25, 3e38]),
    }
    found = read_weights(FORMATS[form](tmp_path / "views.pth", views)).arrays
    expected = np.array([1.5, -2.25, 3e38], "f4").view("u4") & 0xFFFF0000
    same(
        found,
        {"base": base, "rows": base[1:4], "columns": base[:, 1:4:2], "one": base[5:, 4:], "bfloat16": expected.view("f4")},
    )


def test_a_view_of_a_storage_begins_where_the_old_format_says(tmp_path):
    values = np.arange(6, dtype="f4")
    tensor = Tensor(values, start=1, shape=(2,), strides=(1,), view=("7", 3, 3))
    same(read_weights(write_legacy(tmp_path / "w", {"w": tensor})).arrays, {"w": values[4:6]})
    for view in (("7", 4, 2), ("7", -3, 3), ("7", "3", 3), "7"):
        assert re.search(
            "reaches outside|without a place", refusal(write_legacy(tmp_path / "w", {"w": tensor._replace(view=view)}))
        )


@pytest.mark.parametrize("form", FORMATS)
def test_a_training_checkpoint_is_looked_through(tmp_path, form):
    weights = {"conv.weight": RNG.normal(size=(2, 3)).astype("f4"), "bn.num_batches_tracked": np.array(3)}
    checkpoint = {
        "epoch": 3,
        "arch": "sa_resnet50",
        "args": Call(Global("argparse", "Namespace"), (), {"lr": 0.1}),
        "best_acc1": Call(
            Global("numpy.core.multiarray", "scalar"), (Call(Global("numpy", "dtype"), ("f8", False, True)), "x")
        ),
        "optimizer": {"state": {0: {"momentum": np.zeros(3, "f4")}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "sparse": Call(Global("torch._utils", "_rebuild_sparse_tensor"), (1, 2)),
        (1, 2): None,
        "state_dict": state_dict({f"module.{name}": array for name, array in weights.items()}),
    }
    same(read_weights(FORMATS[form](tmp_path / "checkpoint.pth.tar", checkpoint)).arrays, weights)


def test_averaged_weights_count_where_there_are_no_others(tmp_path):
    plain, averaged = {"w": np.zeros(3, "f4")}, {"w": np.ones(3, "f4")}
    both = read_weights(write_zip(tmp_path / "both", {"model_ema": averaged, "model": plain}))
    assert (both.arrays["w"][0], both.notes) == (0, ())
    alone = read_weights(write_zip(tmp_path / "alone", {"model_ema": averaged, "epoch": 3}))
    assert alone.arrays["w"][0] == 1
    assert "averaged" in alone.notes[0]


def test_a_tensor_of_a_kind_that_cannot_be_read_is_named_beside_the_others(tmp_path):
    entries = {"w": np.ones(3, "f4"), "q": Call(Global("torch._utils", "_rebuild_qtensor"), (1,))}
    weights = read_weights(write_zip(tmp_path / "weights", {"module." + name: value for name, value in entries.items()}))
    same(weights.arrays, {"w": entries["w"]})
    assert weights.unreadable == {"q": "torch._utils _rebuild_qtensor"}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        ({"start": 1}, "reaches outside its storage of 6"),
        ({"start": -1}, "reaches outside"),
        ({"strides": (4, 1)}, "reaches outside"),
        ({"shape": (3, 3)}, "repeats values"),
        ({"shape": (10**6, 10**6), "strides": (0, 0)}, "repeats values"),
        ({"shape": (3, 2), "strides": (1, 1)}, "reaches|repeats", ),
        ({"strides": (-3, 1), "start": 3}, "repeats values"),
        ({"shape": (0, 2**60)}, "holds no values"),
        ({"shape": (-2, -3)}, "holds no values"),
        ({"shape": (2,)}, "not whole numbers, one of each"),
        ({"shape": (2.0, 3.0)}, "not whole numbers"),
        ({"shape": [2, 3]}, "not whole numbers"),
        ({"shape": (1,) * 99, "strides": (1,) * 99}, "not whole numbers"),
        ({"start": "0"}, "not whole numbers"),
        ({"count": 7}, "storage '0'.* should"),
        ({"count": 2**62}, "storage '0'.* should"),
        ({"count": -1}, "a storage without a type or a size"),
        ({"kind": "DoubleStorage"}, "storage '0'|cut short"),
    ],
)  # fmt: skip
def test_what_a_tensor_says_of_itself_is_checked(tmp_path, form, tensor, reason):
    if tensor.get("shape") == (3, 2):
        tensor = {**tensor, "start": 4}
    path = FORMATS[form](tmp_path / "weights.pth", {"w": Tensor(np.arange(6, dtype="f4").reshape(2, 3), **tensor)})
    assert re.search(reason, refusal(path))


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ([("archive/constants.pkl", b"")], "TorchScript"),
        ([("archive/../../evil", b"x")], "leads outside"),
        ([("/etc/evil", b"x")], "leads outside"),
        ([("archive/data/0", b"x" * 12)], "appears twice"),
        ([("archive/byteorder", b"big")], "appears twice"),
        ([("other/data.pkl", b"")], "no data.pkl"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_a_zip_archive_holds_besides_is_checked(tmp_path, extra, reason):
    assert reason in refusal(write_zip(tmp_path / "weights.pth", {"w": np.ones(3, "f4")}, extra=extra))


def test_compressed_and_encrypted_archives_and_those_of_others_are_refused(tmp_path):
    bomb = write_zip(tmp_path / "bomb.pth", {"w": np.zeros(10**6, "f4")}, compression=zipfile.ZIP_DEFLATED)
    assert "is compressed, which torch.save never does" in refusal(bomb)
    content = bytearray(write_zip(tmp_path / "plain.pth", {"w": np.ones(3, "f4")}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "secret.pth").write_bytes(content)
    assert "is encrypted" in refusal(tmp_path / "secret.pth")
    with zipfile.ZipFile(tmp_path / "photographs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/1.jpg", bytes(10_000))
    assert "'cat/1.jpg' is compressed" in refusal(tmp_path / "photographs.zip")
    np.savez(tmp_path / "arrays.npz", w=np.ones(3))
    assert "not from torch.save" in refusal(tmp_path / "arrays.npz")


@pytest.mark.parametrize(
    ("places", "reason"),
    [((20, 24), "more entries than fit into the file"), ((20,), "two different sizes"), ((24,), "two different sizes")],
)
def test_sizes_that_a_zip_archive_cannot_hold_are_refused(tmp_path, places, reason):
    path = write_zip(tmp_path / "weights.pth", {"w": np.ones(3, "f4")})
    content = bytearray(path.read_bytes())
    for place in places:
        struct.pack_into("<I", content, content.index(b"PK\x01\x02") + place, 10**6)
    path.write_bytes(content)
    assert reason in refusal(path)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["\x1b[2J\n", "\u202e", "x" * 5000])
def test_what_a_file_says_is_shown_on_one_short_line(tmp_path, form, name):
    tensor, long = Tensor(np.ones(3, "f4"), start=1), (2**120,) * 8
    for value in (
        {name: tensor},
        {name: "text"},
        {"w": tensor._replace(shape=long, strides=long)},
        {"w": tensor._replace(count=2**120)},
        Call(Global(name.strip(), "x"), ()),
    ):
        message = refusal(FORMATS[form](tmp_path / "weights", value))
        assert message.isprintable()
        assert len(message) < 1500


# Paddle


def paddle_state():
    paddle.seed(0)
    network = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4), paddle.nn.Linear(4, 4))
    return network.state_dict()


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("place", [None, "model"])
def test_what_paddle_saves_is_read(tmp_path, protocol, place):
    state = paddle_state()
    saved = state if place is None else {place: state, "epoch": 3, "opt": {"LR_Scheduler": {"last_lr": 0.1}}}
    paddle.save(saved, str(tmp_path / "weights.pdparams"), protocol=protocol)
    weights = read_weights(tmp_path / "weights.pdparams")
    assert weights.framework == "paddle"
    same(weights.arrays, {name: value.numpy() for name, value in state.items()})


def test_arrays_of_every_protocol_order_and_type_are_read(tmp_path):
    arrays = {**ARRAYS, "fortran": np.asfortranarray(RNG.normal(size=(3, 4))), "big": np.arange(5, dtype=">f4")}
    beside = {"objects": np.array([None, 1]), "text": np.array(["a"]), "StructuredToParameterName@@": {"w": "linear_0.w_0"}}
    for protocol in (2, 3, 4, 5):
        (tmp_path / "w").write_bytes(pickle.dumps({**arrays, **beside}, protocol=protocol))
        weights = read_weights(tmp_path / "w")
        same(weights.arrays, arrays)
        assert weights.unreadable.keys() == {"objects", "text"}


def test_paddles_bfloat16_is_widened(tmp_path):
    values = paddle.to_tensor([1.5, -2.25]).astype("bfloat16")
    paddle.save({"w": values}, str(tmp_path / "w.pdparams"))
    same(read_weights(tmp_path / "w.pdparams").arrays, {"w": np.array([1.5, -2.25], "f4")})


def test_paddles_form_in_parts_is_refused_with_what_to_do(tmp_path):
    parts = {"w@@.0": np.ones(3), "UnpackBigParamInfor@@": {"w": {"OriginShape": (3,), "slices": ["w@@.0"]}}}
    (tmp_path / "w").write_bytes(pickle.dumps(parts, protocol=2))
    assert "protocol=4" in refusal(tmp_path / "w")


# safetensors


def test_safetensors_are_read_with_the_layout_that_they_say(tmp_path):
    arrays = {name: np.ascontiguousarray(array) for name, array in ARRAYS.items()}
    for metadata, framework in (({"format": "pt"}, "torch"), ({"format": "pd"}, "paddle")):
        save_file(arrays, tmp_path / "w", metadata=metadata)
        weights = read_weights(tmp_path / "w")
        assert weights.framework == framework
        same(weights.arrays, arrays)
    save_file(arrays, tmp_path / "w")
    assert 'metadata={"format": "pt"}' in refusal(tmp_path / "w")
    for name, framework in (("bn.running_mean", "torch"), ("bn._mean", "paddle")):
        save_file({name: np.ones(3, "f4")}, tmp_path / "w")
        assert read_weights(tmp_path / "w").framework == framework


def raw_safetensors(path, header, content=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + content)
    return path


def test_a_header_of_any_length_is_no_pickle(tmp_path):
    entry = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"format": "pt"}}
    header = json.dumps(entry).encode().ljust(0x180)  # whose length begins with the byte 0x80, as pickles do
    weights = read_weights(raw_safetensors(tmp_path / "w", header, np.array([1, 2], "f4").tobytes()))
    same(weights.arrays, {"w": np.array([1, 2], "f4")})


def test_bfloat16_in_safetensors_is_widened(tmp_path):
    bits = bfloat16([[1.5, -2.25]]).values
    header = {"_mean": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
              "b": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [4, 8]}}  # fmt: skip
    path = raw_safetensors(tmp_path / "w", header, np.ones(1, "f4").tobytes() + bits.tobytes())
    same(read_weights(path).arrays, {"_mean": np.ones(1, "f4"), "b": np.array([[1.5, -2.25]], "f4")})


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "os.system", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**70]},
        "x",
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, entry):
    assert "damaged or cut" in refusal(raw_safetensors(tmp_path / "w", {"w": entry}, bytes(8)))


def test_a_checkpoint_of_this_toolkit_gives_its_network(tmp_path):
    network = paddle.nn.Layer()
    network.network = paddle.nn.Linear(3, 2)
    network.register_buffer("mean", paddle.ones([3]))
    optimizer = paddle.optimizer.Adam(parameters=network.parameters())
    network.network(paddle.ones([1, 3])).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "last.safetensors", network, {"epoch": 1}, optimizer)
    weights = read_weights(tmp_path / "last.safetensors")
    assert weights.framework == "paddle"
    same(weights.arrays, {name: value.numpy() for name, value in network.network.state_dict().items()})


# Files of no use


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x08\x07\x12\x07pytorch", "an ONNX model"),
        (b"\x1f\x8b\x08", "unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x93NUMPY\x01", "a single array"),
        (bytes(64), ".pdiparams"),
        (b"sys_info".ljust(257, b"\0") + b"ustar\x0000", "PyTorch before 0.2"),
        (struct.pack("<Q", 10**6) + b'{"w":', "cut short"),
        (b"PK\x05\x06" + bytes(18), "an empty zip archive"),
        (b"PK\x03\x04 and nothing more", "damaged or cut"),
        (b"any old text, not weights", "an unknown format"),
        (pickled({"epoch": 3, "loss": 0.5}), r"it holds no state_dict, but a dict of epoch (int), loss (float)"),
        (pickled([1, 2]), "it holds no state_dict, but a list"),
        (pickled(Call(Global("models.resnet", "ResNet"), ())), "an object of 'models.resnet.ResNet'; none of its code was run"),
        (pickled({"w": Call(Global("torch._utils", "_rebuild_tensor_v2"), (Persistent(
            ("storage", Global("torch", "FloatStorage"), "0", "cpu", 1)), 0, (1,), (1,)))}), "without their values"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_named(tmp_path, content, reason):
    (tmp_path / "weights.pth").write_bytes(content)
    assert reason in refusal(tmp_path / "weights.pth")


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(WeightFileError, match=r"there is no file .*nothing\.pth"):
        read_weights(tmp_path / "nothing.pth")
    with pytest.raises(WeightFileError, match=r"is a folder: name the file of weights in it"):
        read_weights(tmp_path)


def samples(folder):
    """One small file of each format."""
    arrays = {"w": RNG.normal(size=(2, 3)).astype("f4"), "bn._mean": np.ones(2, "f4")}
    for name, write in FORMATS.items():
        yield write(folder / name, {"epoch": 3, "state_dict": state_dict(arrays)}).read_bytes()
    for protocol in (2, 4, 5):
        yield pickle.dumps(arrays, protocol=protocol)
    yield save(arrays)


def test_a_file_cut_anywhere_is_refused_and_damage_ends_in_no_other_error(tmp_path):
    rng, complaints = random.Random(0), set()
    for sample, content in enumerate(samples(tmp_path)):
        for length in range(0, len(content), 19):
            path = tmp_path / f"{sample} cut at {length}"
            path.write_bytes(content[:length])
            refusal(path)
        for number in range(150):
            data = bytearray(content)
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path = tmp_path / f"{sample} damaged {number}"
            path.write_bytes(data)
            try:
                read_weights(path)
            except WeightFileError as error:
                complaints.add(str(error).removeprefix(str(path)))
    assert len(complaints) > 30
    assert not any("\n" in complaint for complaint in complaints)


# Hostile files


def hostile_pickles(target):
    """Values that, loaded as their makers' libraries do, would make the folder ``target``."""
    code = f"__import__('os').mkdir({str(target)!r})"
    mkdir, weights = Call(Global("posix", "mkdir"), (str(target),)), np.ones(3, "f4")
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return {
        "os": mkdir,
        "exec": Call(Global("builtins", "exec"), (code,)),
        "eval": Call(Global("builtins", "eval"), (code,)),
        "eval of data": Call(Global("builtins", "eval"), (code, {"data": 1})),
        "python 2": Call(Global("__builtin__", "eval"), (code,)),
        "subprocess": Call(Global("subprocess", "Popen"), (["mkdir", str(target)],)),
        "numpy": Call(Global("numpy.testing._private.utils", "runstring"), (code, {})),
        "torch": Call(Global("torch", "load"), (str(target),)),
        "in a state_dict": {"w": weights, "evil": mkdir},
        "as a key": {"w": weights, mkdir: 1},
        "beside it": {"state_dict": {"w": weights}, "optimizer": mkdir},
        "as a state": {"w": weights, "a": Call(Global("argparse", "Namespace"), (), mkdir)},
        "in a tensor": {"w": Call(rebuild, (mkdir, 0, (3,), (1,), False, None))},
        "in place of a storage": {"w": Call(rebuild, ((mkdir, "0"), 0, (3,), (1,), False, None))},
        "in a shape": {
            "w": Call(rebuild, (Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", 3)), 0, mkdir, (1,)))
        },
        "as a storage's type": {"w": Call(rebuild, (Persistent(("storage", mkdir, "0", "cpu", 3)), 0, (3,), (1,)))},
        "of a type": {
            "w": Call(Global("torch._tensor", "_rebuild_from_type_v2"), (Global("posix", "mkdir"), 1, (str(target),), 1))
        },
    }


@pytest.mark.parametrize("kind", hostile_pickles("x"))
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_no_code_of_a_file_is_run(tmp_path, form, kind):
    target, path = tmp_path / "touched", tmp_path / "weights"
    value = hostile_pickles(target)[kind]
    if form == "pickle":
        path.write_bytes(pickled(value))
    else:
        FORMATS[form](path, value)
    if kind in ("in a state_dict", "as a key", "beside it", "as a state"):
        same(read_weights(path).arrays, {"w": np.ones(3, "f4")})
    else:
        refusal(path)
    assert not target.exists()


def test_the_hostile_pickles_do_what_they_should_where_pickle_loads_them(tmp_path):
    for number, kind in enumerate(("os", "exec", "eval", "subprocess")):
        target = tmp_path / str(number)
        made = pickle.loads(pickled(hostile_pickles(target)[kind]))
        if kind == "subprocess":
            made.wait()
        assert target.exists(), kind


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_of_any_protocol_is_not_run(tmp_path, protocol):
    (tmp_path / "w").write_bytes(pickle.dumps({"model": Touches(tmp_path / "touched")}, protocol=protocol))
    assert f"model (an object of '{os.mkdir.__module__}.mkdir')" in refusal(tmp_path / "w")
    assert not (tmp_path / "touched").exists()


def test_a_checkpoint_of_this_toolkit_with_code_in_its_header_is_data(tmp_path):
    header = json.dumps({"config": {"!!python/object/apply:os.mkdir": [str(tmp_path / "touched")]}})
    save_file({"network.w": np.ones(3, "f4")}, tmp_path / "w", metadata={"format": "pd", "header": header})
    same(read_weights(tmp_path / "w").arrays, {"w": np.ones(3, "f4")})
    assert not (tmp_path / "touched").exists()


def test_nothing_of_the_product_unpickles():
    scripts = [path for path in ROOT.rglob("*.py") if not {"tests", "benchmarks"} & set(path.relative_to(ROOT).parts[:1])]
    sources = {
        path: path.read_text(encoding="utf-8") for path in scripts if not path.relative_to(ROOT).parts[0].startswith(".")
    }
    assert len(sources) > 40
    forbidden = (
        r"^\s*(import|from) (pickle|cPickle|dill|joblib|torch)\b|\b(paddle|torch|pickle)\.loads?\(|allow_pickle|Unpickler|"
        r"yaml\.(unsafe_|full_)?load\("
    )
    found = [f"{path}: {line}" for path, text in sources.items() for line in text.splitlines() if re.search(forbidden, line)]
    assert found == []
