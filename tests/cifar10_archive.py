"""Small archives in the layout of cifar-10-python.tar.gz, pickled as Python 2 did it, for tests and trials.

``python tests/cifar10_archive.py FILE`` writes one of 3,000 and 600 pictures of ten colours and stripes.
"""

import io
import struct
import sys
import tarfile

import numpy as np

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-py"
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def python2_pickle(value) -> bytes:
    """What Python 2's cPickle writes of dicts, lists, bytes, whole numbers and uint8 arrays with protocol 2, less its memo."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value):
    if isinstance(value, bytes):
        return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value
    if isinstance(value, int):
        return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(part) for item in value.items() for part in item) + b"u"
    shape = b"(" + b"".join(map(_python2, value.shape)) + b"t"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + 2 * _python2(-1) + b"K\x00tb"
    new = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return new + b"(K\x01" + shape + kind + b"\x89" + _python2(value.tobytes()) + b"tb"


def pictures(count, seed):
    """(uint8 [count, 3 * 32 * 32], labels): each class has a colour and a direction of stripes."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % len(CLASSES)).tolist()
    y, x = np.mgrid[0:32, 0:32]
    images = []
    for label in labels:
        stripes = 60 * np.sin((x * np.cos(label) + y * np.sin(label)) / 2 + rng.uniform(0, 6))
        colour = np.array([40 * (label % 3), 25 * label, 200 - 20 * label])[:, None, None]
        images.append((colour + stripes + rng.normal(0, 10, (3, 32, 32))).clip(0, 255).astype(np.uint8).reshape(-1))
    return np.array(images), labels


def contents(per_batch=10, pickled=python2_pickle) -> dict:
    """{name: bytes} of the pickles of an archive with ``per_batch`` pictures in each batch."""
    parts = {}
    for seed, name in enumerate(BATCHES):
        data, labels = pictures(per_batch, seed)
        names = [f"{CLASSES[label]}_s_{place:06d}.png".encode() for place, label in enumerate(labels)]
        batch = {b"batch_label": name.encode(), b"labels": labels, b"data": data, b"filenames": names}
        parts[name] = pickled(batch)
    meta = {b"num_cases_per_batch": per_batch, b"label_names": [name.encode() for name in CLASSES], b"num_vis": 3072}
    return {"batches.meta": pickled(meta), **parts}


def write_archive(path, parts, folder=FOLDER, compresslevel=9):
    """Write ``parts``, {name: bytes}, as files of ``folder`` into a tar.gz archive; return ``path``."""
    with tarfile.open(path, "w:gz", compresslevel=compresslevel) as archive:
        for name, data in parts.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


if __name__ == "__main__":
    write_archive(sys.argv[1], contents(per_batch=600))
