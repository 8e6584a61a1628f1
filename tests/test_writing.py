"""Files that are replaced as a whole: permissions, links, failures, and what killed processes leave."""

import contextlib
import os
import re
import stat
import subprocess
import sys
import time

import pytest

import fastbp
from fastbp.storage import writing
from fastbp.storage.writing import replacing

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="permissions, links and locks of POSIX")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.npz"


def write(path, content=b"new", error=None):
    with replacing(path) as file:
        file.write(content)
        if error is not None:
            raise error


def temporary_of(path):
    """The one file beside it whose name begins as temporary files do."""
    [name] = [name for name in os.listdir(path.parent) if name.startswith(".")]
    return path.with_name(name)


def permissions(path):
    return stat.S_IMODE(path.stat().st_mode)


@POSIX
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(path, umask):
    before = os.umask(umask)
    try:
        with replacing(path):
            assert permissions(temporary_of(path)) == 0o666 & ~umask
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert permissions(path) == 0o666 & ~umask


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o666, 0o4755])
def test_a_file_that_is_there_keeps_its_permissions(path, mode, monkeypatch):
    """The temporary file has them before there is a byte in it, whatever the umask, and never more."""
    path.write_bytes(b"old")
    path.chmod(mode)
    fchmod, first = os.fchmod, []

    def noted(descriptor, given):
        first.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fchmod(descriptor, given)

    monkeypatch.setattr(os, "fchmod", noted)
    with replacing(path) as file:
        assert permissions(temporary_of(path)) == mode
        assert not any(found & ~mode for found in first)
        file.write(b"new")
    assert permissions(path) == mode
    assert path.read_bytes() == b"new"


@POSIX
def test_of_a_link_the_file_is_replaced(path):
    folder = path.parent / "other"
    folder.mkdir()
    for target in (folder / "there.npz", folder / "missing.npz"):
        link = path.with_suffix(f".{target.stem}")
        link.symlink_to(target)
    (folder / "there.npz").write_bytes(b"old")
    for link in path.parent.glob("net.*"):
        write(link)
        assert link.is_symlink()
        assert link.read_bytes() == b"new"
    assert sorted(os.listdir(folder)) == ["missing.npz", "there.npz"]
    path.symlink_to(path)
    with pytest.raises(OSError, match=path.name):
        write(path)
    assert path.is_symlink()


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "net", ".hidden", "a [b] $c.npz"])
def test_names(tmp_path, name):
    """Long ones too, of which temporary files have another and no longer one."""
    if sys.platform == "win32" and len(name) > 100:
        pytest.skip("paths of 260 characters")
    write(tmp_path / name)
    write(tmp_path / name, b"newer")
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"newer"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_what_is_not_a_file_is_not_replaced(path):
    os.mkfifo(path)
    for net_or_file in (write, fastbp.MLP([3, 2]).save):
        with pytest.raises(ValueError, match="path: expected a file or nothing at"):
            net_or_file(path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    with pytest.raises(IsADirectoryError, match=re.escape(str(path.parent))):
        write(path.parent)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt("Ctrl-C"), MemoryError("none left")])
def test_all_or_nothing(path, error):
    for content in (None, b"old"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(type(error), match=str(error)):
            write(path, b"half a file", error)
        assert os.listdir(path.parent) == [path.name] * (content is not None)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end(path, monkeypatch, name):
    def fails(*_):
        raise OSError("disk full")

    path.write_bytes(b"old")
    monkeypatch.setattr(os, name, fails)
    with pytest.raises(OSError, match="disk full"):
        write(path)
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == b"old"


@POSIX
def test_a_folder_that_may_not_be_written(path, monkeypatch):
    path.write_bytes(b"old")
    if os.geteuid() == 0:  # who may write everywhere
        opened = os.open
        monkeypatch.setattr(os, "open", lambda name, flags, *mode: opened(f"/dev/null/{name}", flags, *mode)
                            if flags & os.O_CREAT else opened(name, flags, *mode))
    path.parent.chmod(0o500)
    try:
        with pytest.raises(OSError, match=path.name):
            write(path)
    finally:
        path.parent.chmod(0o700)
    assert path.read_bytes() == b"old"


@POSIX
def test_the_file_and_the_folder_are_flushed(path, monkeypatch):
    flushed, fsync = [], os.fsync

    def noted(descriptor):
        flushed.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), os.listdir(path.parent) == [path.name]))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write(path)
    assert flushed == [(False, False), (True, True)]  # the folder after the rename


# ---- what killed processes leave -------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from fastbp.storage.writing import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"half a file")
    file.flush()
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    print("writing", flush=True)
    sys.stdin.read()
"""


def process(path, what):
    return subprocess.Popen([sys.executable, "-c", KILLED, str(path), what], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)


@pytest.fixture(scope="module")
def name_of_litter(tmp_path_factory):
    """What a process leaves that is killed while it writes net.npz."""
    path = tmp_path_factory.mktemp("killed") / "net.npz"
    with process(path, "killed"):
        pass
    return temporary_of(path).name


def test_litter_goes_with_the_next_call(path, name_of_litter):
    others = [".net.npz.tmp", f".net.npz.{'0' * 31}.tmp", f".other.npz.{'0' * 32}.tmp", f"net.npz.{'0' * 32}.tmp",
              f".net.npz.1.{'0' * 32}.tmp"]
    for name in [name_of_litter, *others]:
        path.with_name(name).write_bytes(b"half a file")
    path.with_name(f".net.npz.{'1' * 32}.tmp").mkdir()  # which is nobody's
    write(path)
    assert sorted(os.listdir(path.parent)) == sorted([*others, path.name, f".net.npz.{'1' * 32}.tmp"])


def test_what_another_process_writes_stays(path):
    with process(path, "waits") as other:
        assert other.stdout.readline().strip() == b"writing"
        write(path, b"mine")
        assert temporary_of(path).read_bytes() == b"half a file"
        assert path.read_bytes() == b"mine"
        other.stdin.close()
    assert other.returncode == 0
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == b"half a file"


def test_two_calls_of_one_process(path):
    """The one that ends last is what stays."""
    with replacing(path) as outer:
        outer.write(b"outer")
        write(path, b"inner")
        assert path.read_bytes() == b"inner"
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == b"outer"


@POSIX
def test_a_file_system_without_locks(path, monkeypatch):
    def no_locks(*_):
        raise OSError("no locks here")

    monkeypatch.setattr(writing.fcntl, "flock", no_locks)
    old, young = (path.with_name(f".net.npz.{digit * 32}.tmp") for digit in "ab")
    for litter in (old, young):
        litter.write_bytes(b"half a file")
    os.utime(old, (time.time() - 90_000,) * 2)
    write(path)
    assert sorted(os.listdir(path.parent)) == sorted([young.name, path.name])


@POSIX
def test_taken_for_litter_before_it_was_locked(path, monkeypatch):
    """Between making a file and locking it, another process may have removed it."""
    flock, taken = writing.fcntl.flock, []

    def removed_first(file, operation):
        if not taken:
            taken.append(temporary_of(path))
            taken[0].unlink()
        flock(file, operation)

    monkeypatch.setattr(writing.fcntl, "flock", removed_first)
    write(path)
    assert taken
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == b"new"


@POSIX
@pytest.mark.full
def test_many_processes_at_once(path):
    """Each file that is ever seen is whole."""
    program = ("import sys\nfrom fastbp.storage.writing import replacing\n"
               "for k in range(200):\n    with replacing(sys.argv[1]) as file:\n"
               "        for _ in range(100):\n            file.write(sys.argv[2].encode() * 1000); file.flush()\n")
    others = [subprocess.Popen([sys.executable, "-c", program, str(path), digit]) for digit in "123"]
    seen = set()
    while any(other.poll() is None for other in others):
        with contextlib.suppress(FileNotFoundError):
            content = path.read_bytes()
            assert content == content[:1] * 100_000
            seen.add(content[:1])
    assert [other.returncode for other in others] == [0, 0, 0]
    assert len(seen) > 1
    assert os.listdir(path.parent) == [path.name]
