"""--data photographs.zip: unpacked safely, once, and found again."""

import errno
import gzip
import io
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import CLASSES, random_photograph

import sample_animals
import show_photographs
import train_val_split
from machine import locks
from animal_dataset import AnimalDataset
from config import Config
from data import archive as data_archive
from data import splitting
from data.archive import unpacked
from data.archive_entries import ArchiveError
from data.data_folder import DataFolder
from data.data_sets import open_side
from data.data_source import DataSource
from data.lists import TRAIN_LIST, DataError

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder that archives are unpacked into."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(data_archive.os, "sync", lambda: None)  # other programs may have much to write
    return tmp_path / "cache" / "sa-net-paddle" / "data"


def photographs():
    """{name: bytes} of three classes of four photographs."""
    files = {}
    for name in CLASSES:
        for number in range(4):
            file = io.BytesIO()
            random_photograph((len(name), ord(name[0]), number), (40, 36)).save(file, "PNG")
            files[f"{name}/{number}.png"] = file.getvalue()
    return files


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path, files, mode="w", **options):
    with tarfile.open(path, mode, **options) as archive:
        for name, content in files.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.name, info.size = name, len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


WRITERS = {
    "photographs.zip": zipped,
    "photographs.tar": tarred,
    "photographs.tar.gz": lambda path, files: tarred(path, files, "w:gz"),
    "photographs.tgz": lambda path, files: tarred(path, files, "w:gz"),
}


def below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(path, cache):
    """Why the archive is refused; nothing is left of it."""
    with pytest.raises(ArchiveError) as error:
        unpacked(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert [entry.name for entry in cache.iterdir() if entry.name != "lock"] == []
    return str(error.value)


# What is unpacked


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("top", ["", "photographs/", "./a/b/"])
def test_every_kind_is_unpacked_and_a_single_top_folder_looked_through(tmp_path, name, top):
    files = photographs()
    extra = {"__MACOSX/cat/0.png": b"x", ".DS_Store": b"x", f"{top}cat/.DS_Store": b"x", f"{top}cat/._0.png": b"x"}
    root = unpacked(WRITERS[name](tmp_path / name, {f"{top}{path}": content for path, content in files.items()} | extra))
    assert below(root) == files


def test_a_folder_that_holds_the_lists_is_not_looked_through(tmp_path):
    files = {f"set/images/{path}": content for path, content in photographs().items()}
    lists = {"set/labels.txt": b"cat\ndog\n", "set/train_list.txt": b"images/cat/0.png 0\nimages/dog/0.png 1\n"}
    root = unpacked(zipped(tmp_path / "a.zip", files | lists))
    assert len(AnimalDataset(root / TRAIN_LIST, 8, train=True)) == 2


def test_all_scripts_find_the_same_folder_and_messages_name_the_archive(tmp_path, capsys, cache, monkeypatch):
    executor = splitting.concurrent.futures
    monkeypatch.setattr(executor, "ProcessPoolExecutor", lambda workers, initializer: ThreadPoolExecutor(workers))
    path = zipped(tmp_path / "my photographs.zip", photographs())
    config = Config(data=str(path), picture=str(tmp_path / "grid.png"))
    assert show_photographs.main(config) == 2
    assert f"python train_val_split.py --data '{path}' writes it" in capsys.readouterr().err
    assert train_val_split.main(config) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"the lists of {path} are in {DataFolder.open(path).root}"
    assert show_photographs.main(config) == 0
    dataset = open_side(DataSource("folder", str(path)), "train", 16)
    lists = below(DataFolder.open(path).root)["train_list.txt"]
    assert len(dataset) == 9
    assert dataset.data == str(path)
    # the cache is nothing to rely on
    shutil.rmtree(cache)
    with pytest.raises(DataError, match=r"there is no .*labels.txt: python train_val_split.py --data '.*my photographs.zip'"):
        open_side(DataSource("folder", str(path)), "train", 16)
    assert train_val_split.main(config) == 0
    assert below(DataFolder.open(path).root)["train_list.txt"] == lists


def test_the_second_use_unpacks_nothing_and_a_copy_elsewhere_is_the_same(tmp_path, monkeypatch, capsys):
    path = zipped(tmp_path / "a.zip", photographs())
    root = unpacked(path)
    assert capsys.readouterr().err.startswith(f"unpacking {path} (")
    monkeypatch.setattr(data_archive, "_unpack", None)
    shutil.copy(path, tmp_path / "b.zip")
    assert unpacked(path) == unpacked(tmp_path / "b.zip") == root
    assert capsys.readouterr().err == ""


def test_an_archive_that_changed_is_another(tmp_path):
    path = zipped(tmp_path / "a.zip", photographs())
    first = unpacked(path)
    files = photographs()
    files["cat/0.png"] = files["cat/1.png"]
    assert unpacked(zipped(path, files)) != first


def test_pictures_are_not_drawn_into_an_archive(tmp_path, capsys):
    assert sample_animals.main(Config(data=str(tmp_path / "new.zip"))) == 2
    assert "is the name of an archive" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "count"), [("animals10_mini.zip", 320), ("caltech101_16.zip", 1816)])
def test_real_archives(name, count):
    if not (REAL / name).is_file():
        pytest.skip(f"needs {REAL / name}")
    assert len(below(unpacked(REAL / name))) == count


# Names


def test_names_from_windows_in_china_are_read(tmp_path, capsys):
    files = {f"{name}/{number}.png": b"x" for name in ("猫", "狗", "联通") for number in "01"}
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo("x" * len(name.encode("gbk")))
            archive.writestr(info, content)
    packed = path.read_bytes()
    for name in files:
        raw = name.encode("gbk")
        packed = packed.replace(b"x" * len(raw) + b"x", raw + b"x", 1)  # the local header, before the content
    for name in files:
        raw = name.encode("gbk")
        start = packed.index(b"PK\x01\x02")
        packed = packed[:start] + packed[start:].replace(b"x" * len(raw), raw, 1)
    path.write_bytes(packed)
    assert below(unpacked(path)) == files
    assert "not UTF-8; they are read as gbk" in capsys.readouterr().err


@pytest.mark.parametrize(("encoding", "said"), [("utf-8", None), ("gbk", "gbk"), ("cp437", "cp437")])
def test_names_of_a_tar_file_are_decoded_alike(tmp_path, capsys, encoding, said):
    names = ["é/ü.png", "a/b.png"] if encoding == "cp437" else ["猫/照片.png", "a/b.png"]
    path = tarred(tmp_path / "a.tar", dict.fromkeys(names, b"x"), format=tarfile.GNU_FORMAT, encoding=encoding)
    assert set(below(unpacked(path))) == set(names)
    assert ("not UTF-8" in capsys.readouterr().err) == bool(said)


def test_names_in_utf_8_that_are_not_marked_are_utf_8(tmp_path, capsys):
    path = zipped(tmp_path / "a.zip", {"猫/0.png": b"x", "b/0.png": b"x"})
    packed = path.read_bytes()
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = packed.index(signature)
        flags = struct.unpack_from("<H", packed, start + place)[0] & ~0x800
        packed = packed[: start + place] + struct.pack("<H", flags) + packed[start + place + 2 :]
    path.write_bytes(packed)
    assert set(below(unpacked(path))) == {"猫/0.png", "b/0.png"}
    assert "note" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["/etc/x.png", "../x.png", "cat/../../x.png", "C:/x.png", "c:x.png", "cat\\..\\x.png", "//server/x"]
)
@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, cache, kind, name):
    write = zipped if kind == "a.zip" else tarred
    assert "could lead out of the folder" in refusal(write(tmp_path / kind, photographs() | {name: b"x"}), cache)
    assert not (tmp_path / "cache" / "x.png").exists()


def test_a_name_deeper_than_any_folder_is_refused(tmp_path, cache):
    assert "in more than 64 nested folders" in refusal(zipped(tmp_path / "a.zip", {"a/" * 65 + "x.png": b"x"}), cache)


def test_a_name_longer_than_any_is_refused(tmp_path, cache):
    assert "cannot be unpacked" in refusal(zipped(tmp_path / "a.zip", {"a" * 300 + ".png": b"x"}), cache)


@pytest.mark.parametrize("name", ["\x1b[2J\ncat.png", "a/" * 60 + "\u202e" * 200, "x" * 200 + "/" + "y" * 9000])
def test_messages_show_a_name_on_one_short_line(tmp_path, cache, name):
    link = tarfile.TarInfo(name)
    link.type = tarfile.SYMTYPE
    for files in ({name: link}, {f"../{name}": b"x"}, {name: b"x", f"./{name}": b"x"}, {name: b"x", f"{name}/x": b"x"}):
        message = refusal(tarred(tmp_path / "a.tar", files), cache)
        assert message.isprintable()
        assert len(message) < 1500
    assert "cannot be unpacked" in refusal(tarred(tmp_path / "a.tar", {"a/" + "x" * 5000: b"x"}), cache)


def test_what_is_in_it_twice_is_refused(tmp_path, cache):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cat/0.png", "cat/./0.png"):
            archive.writestr(name, b"x")
    assert " twice" in refusal(path, cache)
    assert "both as a file and as a folder" in refusal(zipped(path, {"cat": b"x", "cat/0.png": b"x"}), cache)


# Links and special files


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"S"])
def test_links_and_special_files_in_a_tar_file_are_refused(tmp_path, cache, kind):
    info = tarfile.TarInfo("cat/link.png")
    info.type, info.linkname = kind, "/etc/passwd"
    assert "is a link or a special file" in refusal(tarred(tmp_path / "a.tar", photographs() | {"cat/link.png": info}), cache)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_in_a_zip_file_are_refused(tmp_path, cache, kind):
    info = zipfile.ZipInfo("cat/link.png")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    assert "is a link or a special file" in refusal(zipped(tmp_path / "a.zip", photographs() | {info: b"/etc/passwd"}), cache)


def test_files_get_no_rights_from_the_archive(tmp_path):
    info = zipfile.ZipInfo("cat/0.png")
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o6777) << 16
    root = unpacked(zipped(tmp_path / "a.zip", {info: b"x"}))
    assert (root / "cat" / "0.png").stat().st_mode & 0o7111 == 0


# Bombs


@pytest.mark.parametrize("name", WRITERS)
def test_more_bytes_than_the_limit_are_not_written(tmp_path, cache, monkeypatch, name):
    monkeypatch.setattr(data_archive, "ALWAYS_ALLOWED", 10**6)
    monkeypatch.setattr(data_archive, "MAX_RATIO", 2)
    monkeypatch.setattr("data.archive_entries.MAX_HEADER_BYTES", 0)
    path = WRITERS[name](tmp_path / name, {"cat/0.png": bytes(4 * 10**6)})
    if name == "photographs.tar":  # which packs nothing, so cannot be a bomb
        assert unpacked(path)
    elif name == "photographs.zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("cat/0.png", bytes(4 * 10**6))
        assert "more than the 1,000,000 bytes that the archive's size allows" in refusal(path, cache)
    else:
        assert "more than its size allows" in refusal(path, cache)


def test_a_header_that_lies_about_the_size_is_found_out(tmp_path, cache):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/0.png", bytes(10**6))
    packed = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", packed, packed.index(signature) + place, 10)
    path.write_bytes(packed)
    assert "cut or damaged" in refusal(path, cache)


def test_as_much_of_the_disk_as_is_free_is_the_limit(tmp_path, cache, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    path = zipped(tmp_path / "a.zip", photographs())
    monkeypatch.setattr(data_archive, "_write", lambda *arguments: pytest.fail("it was written all the same"))
    for room in (0, 5000, 60_000, sum(map(len, photographs().values()))):  # files and folders take whole blocks
        monkeypatch.setattr(shutil, "disk_usage", lambda path, room=room: usage._replace(free=data_archive.SPARE_DISK + room))
        assert " bytes that the disk of " in refusal(path, cache)


@pytest.mark.skipif(not hasattr(os, "statvfs"), reason="no such number here")
def test_as_many_files_as_the_disk_has_room_for_are_the_limit(tmp_path, cache, monkeypatch):
    path = zipped(tmp_path / "a.zip", photographs())
    disk = os.statvfs(tmp_path)
    changed = SimpleNamespace(**{name: getattr(disk, name) for name in dir(disk) if name.startswith("f_")})
    changed.f_files, changed.f_favail = 10**6, data_archive.SPARE_FILES + 14
    monkeypatch.setattr(os, "statvfs", lambda path: changed)
    assert "holds 15 files and folders, and the disk of" in refusal(path, cache)
    changed.f_favail += 1
    assert unpacked(path)


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz"])
def test_more_files_than_photographs_of_that_size_can_be_are_refused_before_anything_is_written(
    tmp_path, cache, kind, monkeypatch
):
    monkeypatch.setattr(data_archive, "FILES_ALWAYS_ALLOWED", 100)
    monkeypatch.setattr(data_archive, "_write", lambda *arguments: pytest.fail("it was written all the same"))
    files = {f"cat/{number}.png": b"" for number in range(2000)}
    if kind == "a.tar.gz":
        path = tarred(tmp_path / kind, files, "w:gz")
        assert "holds more than " in refusal(path, cache)
    else:  # whose headers alone are larger
        monkeypatch.setattr(data_archive, "MIN_RATIO", 2000)
        path = (zipped if kind == "a.zip" else tarred)(tmp_path / kind, files)
        assert "holds more than " in refusal(path, cache)


@pytest.mark.parametrize("name", WRITERS)
def test_an_archive_that_takes_too_long_is_given_up(tmp_path, cache, monkeypatch, name):
    monkeypatch.setattr(data_archive, "SECONDS_ALWAYS_ALLOWED", -100)
    assert "takes longer to unpack than the -100 s that its size allows" in refusal(
        WRITERS[name](tmp_path / name, photographs()), cache
    )


def test_what_a_compressed_archive_skips_is_bounded_in_time(tmp_path, cache, monkeypatch):
    path = tarred(tmp_path / "a.tgz", {"cat/0.png": bytes(3 * 10**6), "cat/1.png": b"x"}, "w:gz")
    steps = []
    monkeypatch.setattr("data.archive_entries.STEP", 10**5)
    monkeypatch.setattr("data.archive_entries.Limits.check_time", lambda limits, archive: steps.append(archive))
    assert unpacked(path)
    assert len(steps) > 30


@pytest.mark.parametrize("how", ["the same entry many times", "one entry inside another"])
def test_files_that_overlap_are_refused(tmp_path, cache, how):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("cat/0.png", b"x" * 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/1.png", inner.getvalue())
        place = archive.fp.tell() - len(inner.getvalue())
        for number in range(3):
            info = zipfile.ZipInfo(f"cat/{number + 2}.png" if how == "the same entry many times" else "cat/0.png")
            info.header_offset = 0 if how == "the same entry many times" else place
            info.CRC, info.file_size, info.compress_size = zipfile.crc32(b"x" * 1000), 1000, 1000
            archive.filelist.append(info)
            archive._didModify = True
            if how == "one entry inside another":
                break
    assert "holds files that overlap: is it a bomb?" in refusal(tmp_path / "a.zip", cache)


def test_a_list_of_the_parts_of_a_sparse_file_is_bounded(tmp_path, cache):
    entry = tarfile.TarInfo("cat/0.png")
    entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": "1"}
    parts = b"999999999\n" + b"1\n" * 10**6
    entry.size = len(parts)
    header = entry.tobuf(tarfile.PAX_FORMAT)
    (tmp_path / "a.tgz").write_bytes(gzip.compress(header + parts.ljust(-(-len(parts) // 512) * 512, b"\0") + bytes(1024)))
    started = time.process_time()
    assert "headers of more than 262,144 bytes for one file" in refusal(tmp_path / "a.tgz", cache)
    assert time.process_time() - started < 5


def test_a_table_of_contents_of_any_length_is_not_kept(tmp_path, cache, monkeypatch):
    path = zipped(tmp_path / "a.zip", {f"cat/{number}.png": b"x" for number in range(30_000)})
    monkeypatch.setattr(data_archive, "FILES_ALWAYS_ALLOWED", 1000)
    monkeypatch.setattr(zipfile.ZipFile, "infolist", lambda archive: pytest.fail("it was read"))
    monkeypatch.setattr(data_archive, "MIN_RATIO", 2000)
    assert "holds more than " in refusal(path, cache)
    monkeypatch.setattr("data.archive_entries.MAX_CONTENTS_BYTES", 10**6)
    assert "a table of contents of " in refusal(path, cache)


def test_too_many_files_are_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(data_archive, "MAX_FILES", 15)
    assert unpacked(zipped(tmp_path / "a.zip", photographs()))  # 12 files, 3 folders
    monkeypatch.setattr(data_archive, "MAX_FILES", 14)
    shutil.rmtree(cache)
    assert "more than 14 files and folders" in refusal(tmp_path / "a.zip", cache)
    monkeypatch.setattr(data_archive, "MAX_FILES", 5)
    assert "more than 5 files:" in refusal(tmp_path / "a.zip", cache)


def test_a_tar_header_of_megabytes_is_refused(tmp_path, cache):
    assert "a header of" in refusal(tarred(tmp_path / "a.tgz", {"cat/" + "x" * 3 * 10**6: b"x"}, "w:gz"), cache)


# Damage


def test_a_record_of_a_length_that_no_number_of_the_machine_holds_is_refused(tmp_path, cache):
    record = f"{10**30} path=cat/1.jpg\nabc=d\n".encode()
    entry = tarfile.TarInfo("record")
    entry.type, entry.size = tarfile.XHDTYPE, len(record)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + record.ljust(1536, b"\0")))
    assert "damaged" in refusal(tmp_path / "a.tar.gz", cache)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_cut_archive_is_one_error_and_leaves_nothing(tmp_path, cache, name, share):
    path = WRITERS[name](tmp_path / name, photographs())
    whole = path.read_bytes()
    if name == "photographs.tar":
        whole = whole[: whole.rindex(b"IEND") + 512]  # without most of the zeros that it is filled up with
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "get it again" in refusal(path, cache)


def test_a_tar_file_cut_between_two_files_is_noticed(tmp_path, cache):
    path = tarred(tmp_path / "a.tar", photographs())
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1].offset
    path.write_bytes(path.read_bytes()[:last])
    assert "its end is missing" in refusal(path, cache)
    path.write_bytes(path.read_bytes() + b"garbage " * 200)
    assert "its end is missing" in refusal(path, cache)


@pytest.mark.parametrize("name", ["photographs.zip", "photographs.tgz"])
def test_changed_bytes_are_noticed(tmp_path, cache, name):
    path = WRITERS[name](tmp_path / name, photographs())
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 1
    path.write_bytes(packed)
    assert "get it again" in refusal(path, cache)


def test_an_encrypted_or_rarely_packed_archive_is_refused(tmp_path, cache):
    path = zipped(tmp_path / "a.zip", {"cat/0.png": b"x"})
    packed = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(signature) + place] |= 1
    path.write_bytes(packed)
    assert "is encrypted: unpack it yourself" in refusal(path, cache)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("cat/0.png", b"x")
    assert "uses a rare compression (type 14)" in refusal(path, cache)


@pytest.mark.parametrize(
    "content", [b"", b"no archive", b"\x89PNG\r\n\x1a\n", gzip.compress(b"text", mtime=0), b"PK\x03\x04", b"BZh91AY"]
)
def test_what_is_no_archive_is_refused(tmp_path, cache, content):
    (tmp_path / "a.zip").write_bytes(content)
    assert refusal(tmp_path / "a.zip", cache)


def test_an_archive_of_nothing_is_refused(tmp_path, cache):
    assert "holds no files" in refusal(zipped(tmp_path / "a.zip", {}), cache)


def test_a_full_disk_leaves_nothing(tmp_path, cache, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    path = zipped(tmp_path / "a.zip", photographs())
    monkeypatch.setattr(data_archive.os, "sync", full)
    assert "No space left on device" in refusal(path, cache)


# Several processes


def start(path):
    command = [sys.executable, "-c", f"from data.archive import unpacked; print(unpacked({str(path)!r}))"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_that_start_together_unpack_once(tmp_path, cache):
    path = zipped(tmp_path / "a.zip", photographs())
    processes = [start(path) for _ in range(4)]
    done = [process.communicate(timeout=60) for process in processes]
    assert {process.returncode for process in processes} == {0}
    assert len({out for out, _ in done}) == 1
    assert sum("unpacking" in err for _, err in done) == 1
    assert below(Path(done[0][0].strip())) == photographs()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_after_a_killed_process_the_next_one_starts_afresh(tmp_path, cache):
    path = zipped(tmp_path / "a.zip", photographs() | {f"many/{number}": b"x" for number in range(4_000)})
    process = start(path)
    while process.poll() is None and not list(cache.glob("unpacking-*/*/*")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert list(cache.glob("unpacking-*"))
    root = unpacked(path)
    assert sum(1 for _ in (root / "many").iterdir()) == 4_000
    assert sorted(entry.name for entry in cache.iterdir()) == sorted([root.name, "lock"])


@pytest.mark.skipif(os.name != "posix", reason="no such rights here")
def test_a_folder_that_others_can_have_changed_is_not_used(tmp_path, cache):
    path = zipped(tmp_path / "a.zip", photographs())
    before = os.umask(0)
    try:
        root = unpacked(path)
    finally:
        os.umask(before)
    for folder in (root, *root.parents[:3]):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        folder.chmod(0o777)
        with pytest.raises(ArchiveError, match=rf"other users can write to {folder}; set XDG_CACHE_HOME to a folder that is"):
            unpacked(path)
        folder.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(root, 12345, -1)
        with pytest.raises(ArchiveError, match=rf"{root} belongs to another user"):
            unpacked(path)


def test_what_a_split_refuses_does_not_stay_and_what_it_has_used_does(tmp_path, cache, monkeypatch):
    executor = splitting.concurrent.futures
    monkeypatch.setattr(executor, "ProcessPoolExecutor", lambda workers, initializer: ThreadPoolExecutor(workers))
    path = zipped(tmp_path / "no photographs.zip", {f"{name}/{number}.png": b"" for name in "ab" for number in range(9)})
    assert train_val_split.main(Config(data=str(path))) == 2
    assert [entry.name for entry in cache.iterdir()] == ["lock"]
    path = zipped(tmp_path / "photographs.zip", photographs())
    lists = tmp_path / "lists"
    assert train_val_split.main(Config(data=str(path), lists_dir=str(lists))) == 0
    before = below(cache)
    assert train_val_split.main(Config(data=str(path), lists_dir=str(path))) == 2
    assert train_val_split.main(Config(data=str(path), lists_dir=str(tmp_path / "others"), labels=str(path))) == 2
    assert below(cache) == before


def test_lists_of_before_stay_whatever_a_split_refuses(tmp_path, cache):
    path = zipped(tmp_path / "a.zip", photographs())
    root = unpacked(path)
    (root / TRAIN_LIST).write_text("cat/0.png 0\n")
    assert train_val_split.main(Config(data=str(path))) == 2
    assert (root / TRAIN_LIST).is_file()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "; set XDG_CACHE_HOME to a folder that has room: "),
        (errno.EROFS, "; set XDG_CACHE_HOME to a folder that can be written: "),
        (errno.ENAMETOOLONG, "; unpack it yourself with other names and give --data the folder"),
    ],
)
def test_the_advice_fits_the_fault(tmp_path, cache, monkeypatch, number, advice):
    def fail(*arguments):
        raise OSError(number, os.strerror(number), str(cache / "x"))

    path = zipped(tmp_path / "a.zip", photographs())
    monkeypatch.setattr(data_archive, "_write", fail)
    assert advice in (message := refusal(path, cache))
    assert f"{os.strerror(number)}: {cache / 'x'}" in message


def test_an_archive_that_cannot_be_read_is_no_fault_of_the_cache(tmp_path, cache, monkeypatch):
    path = zipped(tmp_path / "a.zip", photographs())

    def denied(archive, *status):
        raise PermissionError(errno.EACCES, "Permission denied", str(archive))

    monkeypatch.setattr(data_archive, "_digest", denied)
    with pytest.raises(ArchiveError, match=r"cannot be unpacked: Permission denied$"):
        unpacked(path)


@pytest.mark.skipif(locks.fcntl is None, reason="needs flock")
def test_without_locks_several_processes_unpack_one_folder(tmp_path, cache, monkeypatch):
    def none(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    path = zipped(tmp_path / "a.zip", photographs())
    monkeypatch.setattr(locks.fcntl, "flock", none)
    other = cache / f"{data_archive.UNPACKING}of another process"
    other.mkdir(parents=True)
    write = data_archive._write

    def slowly(*arguments):
        write(*arguments)
        monkeypatch.setattr(data_archive, "_write", write)
        assert below(unpacked(path)) == photographs()  # another process is faster

    monkeypatch.setattr(data_archive, "_write", slowly)
    assert below(unpacked(path)) == photographs()
    assert other.is_dir()


def test_the_classes_of_an_archive(tmp_path, monkeypatch):
    executor = splitting.concurrent.futures
    monkeypatch.setattr(executor, "ProcessPoolExecutor", lambda workers, initializer: ThreadPoolExecutor(workers))
    path = tarred(tmp_path / "a.tgz", {f"top/{name}": content for name, content in photographs().items()}, "w:gz")
    assert train_val_split.main(Config(data=str(path))) == 0
    assert DataFolder.open(path).read_classes() == list(CLASSES)
