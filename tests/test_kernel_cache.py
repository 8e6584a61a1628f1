"""The kernel cache: only what this user wrote is run, whatever else lies there is compiled anew, and nothing fails."""

import errno
import hashlib
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numba
import pytest

from fastbp.compiling import cache, decorators, identity

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has neither owners nor modes of this kind")


@pytest.fixture
def base(tmp_path, monkeypatch):
    """Where the caches of this process are."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "caches"))
    monkeypatch.setattr(cache, "_WARNED", set())
    cache.cache_folder.cache_clear()
    yield tmp_path / "caches" / "fastbp"
    monkeypatch.undo()
    cache.cache_folder.cache_clear()


@pytest.fixture
def folder(base):
    """An empty cache of this process."""
    return cache.cache_folder()


def is_found(number=1):
    """Whether a kernel is found in the cache, which has it afterwards if it can be stored."""
    compiled = decorators.kernel(lambda x: x + number, name=f"plus_{number}")
    assert compiled(1) == 1 + number
    hits, misses = (sum(counts.values()) for counts in (compiled.stats.cache_hits, compiled.stats.cache_misses))
    assert hits + misses == 1
    return bool(hits)


def only_file(folder):
    [path] = folder.iterdir()
    return path


class Planted:
    """What runs when it is unpickled."""

    ran = False

    def __reduce__(self):
        return setattr, (Planted, "ran", True)


def planted(key):
    """A file for a key in which everything is right but what was pickled."""
    payload = pickle.dumps(Planted())
    return b"\n".join([b"fastbp kernel 1", key, hashlib.sha256(payload).hexdigest().encode(), payload])


def key_in(path):
    return path.read_bytes().split(b"\n")[1]


def replace(path, contents):
    path.unlink()
    path.write_bytes(contents)
    path.chmod(0o600)


def with_a_bit_changed(contents, after):
    """In the last byte of the last occurrence of some bytes."""
    place = contents.rindex(after) + len(after) - 1
    return contents[:place] + bytes([contents[place] ^ 1]) + contents[place + 1:]


DAMAGED = {
    "empty": lambda path: replace(path, b""),
    "cut off": lambda path: replace(path, path.read_bytes()[:-1]),
    "cut off in its first line": lambda path: replace(path, path.read_bytes()[:4]),
    "one bit": lambda path: replace(path, with_a_bit_changed(path.read_bytes(), b"plus_1")),
    "its last bit": lambda path: replace(path, with_a_bit_changed(path.read_bytes(), b".")),
    "zeros": lambda path: replace(path, bytes(path.stat().st_size)),
    "not a kernel": lambda path: replace(path, planted(key_in(path))),
    "of another kernel": lambda path: replace(path, planted(key_in(path).replace(b"plus_1", b"plus_2"))),
    "of another processor": lambda path: replace(path, planted(key_in(path).replace(b"64", b"32"))),
    "another format": lambda path: replace(path, path.read_bytes().replace(b"kernel 1", b"kernel 2", 1)),
    "others may write": lambda path: (replace(path, planted(key_in(path))), path.chmod(0o620)),
    "unreadable": lambda path: path.chmod(0),
    "a link": lambda path: path.rename(path.parent.parent / "x") and path.symlink_to(path.parent.parent / "x"),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path, 0o600)),
}
POSIX_ONLY = {"others may write", "unreadable", "a link", "a pipe"}


@pytest.mark.parametrize("how", [pytest.param(how, marks=POSIX if how in POSIX_ONLY else ()) for how in DAMAGED])
def test_a_file_that_cannot_be_trusted_is_replaced(how, folder, recwarn):
    """It is never run, and costs one warning."""
    assert not is_found()
    assert is_found()
    DAMAGED[how](only_file(folder))
    if how == "unreadable" and os.access(only_file(folder), os.R_OK):
        pytest.skip("root reads everything")
    Planted.ran = False
    assert not is_found()
    assert [str(warning.message)[:66] for warning in recwarn] == [
        "fastbp compiles a kernel anew, because it cannot use " + str(folder)[:13]]
    assert Planted.ran == (how == "not a kernel")  # this user wrote it
    assert is_found()
    assert stat.S_ISREG(only_file(folder).lstat().st_mode)


def test_several_files_that_cannot_be_trusted_cost_one_warning(folder, recwarn):
    assert [is_found(number) for number in (1, 2)] == [False, False]
    for path in folder.iterdir():
        replace(path, b"")
    assert [is_found(number) for number in (1, 2)] == [False, False]
    assert len(recwarn) == 1
    assert [is_found(number) for number in (1, 2)] == [True, True]


def as_of_another_user(state):
    return os.stat_result([*state[:4], state.st_uid + 1, *state[5:]])


@POSIX
def test_a_file_of_another_user_is_not_run(folder, monkeypatch):
    is_found()
    replace(only_file(folder), planted(key_in(only_file(folder))))
    Planted.ran = False
    fstat = os.fstat
    monkeypatch.setattr(cache.os, "fstat", lambda descriptor: as_of_another_user(fstat(descriptor)))
    with pytest.warns(RuntimeWarning, match="anew, because it cannot use .* belongs to another user"):
        assert not is_found()
    assert not Planted.ran


@POSIX
def test_a_folder_of_another_user_is_not_used(base, monkeypatch):
    base.mkdir(parents=True)
    user = os.geteuid()
    monkeypatch.setattr(cache.os, "geteuid", lambda: user + 1)
    monkeypatch.setattr(cache, "_SYSTEM", user + 2)
    with pytest.warns(RuntimeWarning, match="anew in every process.* belongs to another user.*NUMBA_CACHE_DIR"):
        assert cache.cache_folder() is None
    assert not list(base.iterdir())


@POSIX
def test_kernels_of_the_system_are_run(folder, monkeypatch):
    is_found()
    user = os.geteuid()
    monkeypatch.setattr(cache.os, "geteuid", lambda: user + 1)
    monkeypatch.setattr(cache, "_SYSTEM", user)
    assert is_found()


@POSIX
@pytest.mark.parametrize("mask", [0, 0o077])
def test_only_the_user_has_access(mask, base):
    """Whatever the umask; folders that others may write to, and were made before, are closed to them."""
    before = os.umask(mask)
    try:
        base.parent.mkdir()
        base.mkdir()
        folder = cache.cache_folder()
        is_found()
        assert [stat.S_IMODE(path.stat().st_mode) for path in (base, folder, only_file(folder))] == [
            0o700, 0o700, 0o600]
        shutil.rmtree(base.parent)
        is_found()
        assert stat.S_IMODE(base.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="the variables of other systems")
def test_the_place_of_the_cache(tmp_path, monkeypatch, recwarn):
    """It is never in the working folder, where anybody may have put kernels."""
    import pwd

    def place(**variables):
        monkeypatch.setattr(cache, "_WARNED", set())
        for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
            monkeypatch.setenv(name, variables[name]) if name in variables else monkeypatch.delenv(name, raising=False)
        recwarn.clear()
        return cache.cache_base(), [str(warning.message) for warning in recwarn]

    home = Path(pwd.getpwuid(os.geteuid()).pw_dir, ".cache", "fastbp")
    assert place(HOME="/a") == (Path("/a/.cache/fastbp"), [])
    assert place(HOME="/a", XDG_CACHE_HOME="/b") == (Path("/b/fastbp"), [])
    assert place(HOME="/a", XDG_CACHE_HOME="/b", NUMBA_CACHE_DIR="/c") == (Path("/c/fastbp"), [])
    assert place() == place(HOME="") == place(HOME="", XDG_CACHE_HOME="", NUMBA_CACHE_DIR="") == (home, [])
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        assert place(**{name: "~/" + "x" * 1000}) == (
            home, [f"{name}: expected an absolute path, found '~/{'x' * 78}'; fastbp ignores it"])
    monkeypatch.setattr(pwd, "getpwuid", lambda user: {}[user])
    with pytest.raises(FileNotFoundError, match="no home directory"):
        place()


def refuse(*arguments, **options):
    raise OSError(errno.EROFS, "Read-only file system")


@pytest.fixture
def read_only(monkeypatch):
    """Make all writing fail, to root too."""
    def make():
        for module, name in [(tempfile, "mkstemp"), (os, "mkdir"), (os, "chmod"), (os, "utime"), (os, "unlink")]:
            monkeypatch.setattr(module, name, refuse)
        monkeypatch.setattr(os, "access", lambda path, mode: mode & os.W_OK == 0)

    return make


def test_a_cache_that_cannot_be_written_is_read(folder, read_only, recwarn):
    is_found()
    os.utime(folder, (1e9, 1e9))
    read_only()
    cache.cache_folder.cache_clear()
    assert cache.cache_folder() == folder
    assert not cache.may_store()
    assert is_found()
    assert not recwarn
    assert [is_found(number) for number in (2, 3)] == [False, False]
    assert [str(warning.message) for warning in recwarn] == [
        "fastbp could not cache a compiled kernel: [Errno 30] Read-only file system"]


def test_what_killed_processes_left_is_removed(folder):
    for name, age in (("old.unfinished", 90_000), ("new.unfinished", 3000)):
        (folder / name).write_bytes(b"")
        os.utime(folder / name, 2 * (time.time() - age,))
    os.utime(folder, (0, 0))
    cache.cache_folder.cache_clear()
    cache.cache_folder()
    assert only_file(folder).name == "new.unfinished"


def test_no_cache_where_none_can_be_made(base, read_only, recwarn):
    read_only()
    assert [cache.cache_folder() for _ in range(2)] == [None, None]
    assert decorators.kernel(lambda x: x + 1, name="plus")(1) == 2
    assert len(recwarn) == 1
    assert "its cache cannot be used" in str(recwarn[0].message)


@pytest.mark.parametrize(("module", "name"), [(cache, "dumps"), (os, "replace")])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["full", "interrupted"])
def test_a_file_is_whole_or_not_there(module, name, error, folder, monkeypatch):
    def fail(*arguments):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(module, name, fail)
        if isinstance(error, OSError):
            with pytest.warns(RuntimeWarning, match="could not cache a compiled kernel: disk full"):
                assert not is_found()
        else:
            with pytest.raises(KeyboardInterrupt):
                is_found()
    assert list(folder.iterdir()) == []
    assert not is_found()
    assert is_found()


def test_readers_and_writers_at_once(folder):
    """Whoever reads finds one of the versions that were written."""
    class Version:
        def __init__(self, number):
            self.number = number

        def _reduce(self):
            return bytes([self.number]) * 200_000

    path, found, failed = folder / "f.kernel", set(), []

    def write(number):
        for _ in range(20):
            cache._write(path, b"key", Version(number))

    def read():
        try:
            while any(writer.is_alive() for writer in writers):
                found.add(pickle.loads(cache._read(path, b"key")))
        except Exception as error:
            failed.append(error)

    cache._write(path, b"key", Version(0))
    writers = [threading.Thread(target=write, args=(number,)) for number in (1, 2, 3)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in (*writers, *readers):
        thread.start()
    for thread in (*writers, *readers):
        thread.join()
    assert not failed
    assert found <= {bytes([number]) * 200_000 for number in range(4)}
    assert list(folder.iterdir()) == [path]


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from fastbp.compiling import cache

class Version:
    def __init__(self, number):
        self.number = number

    def _reduce(self):
        return bytes([self.number]) * 1_000_000

path, chance = Path(sys.argv[1], "f.kernel"), random.Random(0)
cache._write(path, b"key", Version(0))
for _ in range(25):
    writers = []
    for number in range(4):
        writers.append(os.fork())
        while writers[-1] == 0:
            cache._write(path, b"key", Version(number))
    for writer in writers:
        time.sleep(0.02 * chance.random())
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        assert len(set(cache.pickle.loads(cache._read(path, b"key")))) == 1
"""


@POSIX
@pytest.mark.full
def test_writers_that_are_killed(tmp_path):
    """A hundred, at any moment: a reader finds a version that is whole."""
    subprocess.run([sys.executable, "-P", "-c", KILLED, str(tmp_path)], check=True, timeout=120,
                   env=os.environ | {"PYTHONPATH": str(Path(cache.__file__).parents[2])})


def test_a_cache_that_is_removed_meanwhile_is_made_again(folder):
    is_found()
    shutil.rmtree(folder)
    assert not is_found()
    assert is_found()


def test_nothing_is_stored_once_the_source_has_changed(folder, monkeypatch):
    source = identity.package_source()
    path, changed, size = source.stamps[0]
    with monkeypatch.context() as patched:
        patched.setattr(identity, "package_source", lambda: source._replace(stamps=(
            (path, changed - 1, size), *source.stamps[1:])))
        assert not is_found()
    assert not is_found()  # a process that runs the source of the digest
    assert is_found()


def test_settings_that_change_while_a_process_runs(folder, monkeypatch):
    """What is compiled meanwhile is not stored, and what is stored not used."""
    def with_bounds_checked():
        with monkeypatch.context() as patched:
            patched.setenv("NUMBA_BOUNDSCHECK", "1")
            numba.config.reload_config()
            found = is_found()
        numba.config.reload_config()
        return found

    assert not with_bounds_checked()
    assert not is_found()
    assert not with_bounds_checked()
    assert is_found()


def test_nothing_to_identify_the_code_by(base, monkeypatch, recwarn):
    monkeypatch.setattr(cache, "identity", lambda: None)
    assert cache.cache_folder() is None
    assert ["nothing tells of which source they are" in str(warning.message) for warning in recwarn] == [True]
    assert not base.exists()
