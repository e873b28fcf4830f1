"""Which folders and files count as those that no other user can change."""

import ctypes
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from machine import private_folder
from machine.private_folder import NotPrivateError, check_private, is_private, loadable, make_private, open_private
from messages.reason import reason_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no such rights here")
OTHER = 12345  # a user and a group that the tests do not run as


@pytest.fixture
def place(tmp_path):
    """A folder below one that anybody may look into."""
    (tmp_path / "above").mkdir(mode=0o755)
    (tmp_path / "above" / "folder").mkdir(mode=0o755)
    return tmp_path / "above" / "folder"


def give(path, user=-1, group=-1):
    try:
        os.chown(path, user, group, follow_symlinks=False)
    except PermissionError:
        pytest.skip("may not give files to others")


def refusal(check, path):
    with pytest.raises(NotPrivateError) as error:
        check(path)
    return reason_of(error.value)


def test_missing_folders_are_made_private_whatever_the_umask(place):
    for umask, name in ((0, "a"), (0o002, "b"), (0o077, "c")):
        before = os.umask(umask)
        try:
            make_private(place / name / "b" / "c")
        finally:
            os.umask(before)
        for folder in (place / name, place / name / "b", place / name / "b" / "c"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    make_private(place / "a" / "b" / "c")


def test_a_folder_that_others_can_write_to_is_refused_at_any_level(place):
    check_private(place)
    for folder in (place, place.parent):
        folder.chmod(0o757)
        assert refusal(check_private, place) == f"other users can write to {folder}"
        assert refusal(make_private, place / "new" / "folder") == f"other users can write to {folder}"
        folder.chmod(0o755)
    assert not (place / "new").exists()


def test_a_folder_of_another_user_is_refused_at_any_level(place):
    for folder in (place, place.parent):
        give(folder, OTHER)
        assert refusal(check_private, place) == f"{folder} belongs to another user"
        os.chown(folder, os.geteuid(), -1)


def test_the_sticky_bit_protects_what_lies_below_but_not_the_folder_itself(place):
    place.parent.chmod(0o1777)
    check_private(place)
    make_private(place.parent / "new")
    place.chmod(0o1777)
    assert refusal(check_private, place) == f"other users can write to {place}"
    make_private(place / "new")
    give(place, OTHER)
    assert refusal(make_private, place / "another") == f"{place} belongs to another user"


def test_in_tmp_a_folder_or_a_link_that_another_user_has_made_is_refused(place):
    place.parent.chmod(0o1777)
    link = place.parent / "link"
    link.symlink_to(place)
    check_private(link)
    give(link, OTHER)
    assert refusal(check_private, link) == f"{link} belongs to another user"
    give(place, OTHER)
    assert refusal(make_private, place) == f"{place} belongs to another user"


def test_a_folder_of_a_group_is_refused_unless_the_group_is_the_users_own(place, monkeypatch):
    status = place.stat()
    place.parent.chmod(0o775)
    group = SimpleNamespace(gr_name="ann", gr_mem=[])
    account = SimpleNamespace(pw_name="ann", pw_gid=status.st_gid)
    monkeypatch.setattr(private_folder.pwd, "getpwuid", lambda user: account)
    monkeypatch.setattr(private_folder.grp, "getgrgid", lambda number: group)
    check_private(place)
    group.gr_mem = ["ann"]
    check_private(place)
    said = f"its group can write to {place.parent}"
    group.gr_mem = ["ann", "bob"]
    assert refusal(check_private, place) == said
    group.gr_mem, group.gr_name = [], "users"
    assert refusal(check_private, place) == said
    group.gr_name, account.pw_gid = "ann", status.st_gid + 1
    assert refusal(check_private, place) == said
    account.pw_gid = status.st_gid
    monkeypatch.setattr(os, "listxattr", lambda place: [private_folder.ACL], raising=False)
    assert refusal(check_private, place) == said, "a list may name others"
    monkeypatch.setattr(private_folder.pwd, "getpwuid", lambda user: {}[user])
    assert refusal(check_private, place) == said


def test_links_are_followed_and_each_place_on_the_way_counts(place, tmp_path):
    other = tmp_path / "other"
    other.mkdir(mode=0o755)
    (other / "link").symlink_to(Path("..") / "above" / "folder")
    check_private(other / "link")
    other.chmod(0o777)
    assert refusal(check_private, other / "link") == f"other users can write to {other}"
    other.chmod(0o755)
    place.chmod(0o777)
    assert refusal(check_private, other / "link") == f"other users can write to {place}"
    (other / "up").symlink_to(place / "..")
    assert refusal(check_private, other / "up") == f"other users can write to {place}"
    place.chmod(0o755)
    place.parent.chmod(0o1777)
    assert refusal(check_private, other / "up") == f"other users can write to {place.parent}"
    (other / "circle").symlink_to(other / "circle")
    with pytest.raises(OSError, match="lead round in a circle"):
        check_private(other / "circle")


def test_what_is_no_folder_is_refused(place):
    (place / "file").touch()
    with pytest.raises(NotADirectoryError):
        check_private(place / "file")
    with pytest.raises(OSError):
        make_private(place / "file" / "below")
    (place / "dangling").symlink_to(place / "missing")
    with pytest.raises(OSError):
        make_private(place / "dangling" / "below")


def test_only_a_regular_file_of_ones_own_is_opened(place):
    file = place / "file"
    file.write_bytes(b"content")
    file.chmod(0o644)
    with open_private(file) as opened:
        assert opened.read() == b"content"
    file.chmod(0o646)
    assert refusal(open_private, file) == f"other users can write to {file}"
    file.chmod(0o644)
    (place / "link").symlink_to(file)
    assert refusal(open_private, place / "link") == f"{place / 'link'} is a link"
    os.mkfifo(place / "pipe")
    assert refusal(open_private, place / "pipe") == f"{place / 'pipe'} is no regular file"
    (place / "folder").mkdir()
    assert not is_private(place / "folder")
    assert not is_private(place / "missing")
    give(file, OTHER)
    assert refusal(open_private, file) == f"{file} belongs to another user"


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
def test_what_is_loaded_is_the_file_that_was_checked(place, monkeypatch):
    libraries = {}
    for number in (1, 2):
        libraries[number] = place / f"{number}.so"
        text = f"int number(void) {{ return {number}; }}"
        command = ["cc", "-x", "c", "-shared", "-fPIC", "-", "-o", str(libraries[number])]
        try:
            subprocess.run(command, input=text, text=True, check=True)
        except FileNotFoundError:
            pytest.skip("no compiler")
        libraries[number].chmod(0o644)
    path = place / "library.so"
    os.rename(libraries[1], path)
    name = loadable(path)
    os.replace(libraries[2], path)  # after the check
    assert ctypes.CDLL(name).number() == 1
    again = loadable(path)
    assert again != name, "the loader takes a name that it knows for the same library"
    assert ctypes.CDLL(again).number() == 2
    monkeypatch.setattr(private_folder, "HANDLES", "/nowhere")  # a system without /proc
    assert loadable(path) == str(path)
