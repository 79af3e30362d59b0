"""Files as streams of bytes: plain, compressed, or inside a zip archive."""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import functools
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from stlm.errors import UserError

ZIP = ".zip"
_BLOCK = 1 << 16  # bytes read at once from a compressed file


@dataclasses.dataclass(frozen=True, slots=True)
class TextFile:
    """One file with text.

    path: where it is on disk, or the archive that it is in. name: its path inside the folder or archive that was named. Its
    suffixes decide how it is read. member: its name inside the archive; "" for a file that isn't in one.
    """

    path: str
    name: str
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else self.path

    @property
    def kind(self) -> str:
        """The suffix of its format, in lower case, without the suffix of its compression."""
        return _suffix(self._inner)

    @property
    def stem(self) -> str:
        """Its name without folders and these suffixes."""
        return os.path.splitext(os.path.basename(self._inner))[0]

    @property
    def _inner(self) -> str:
        return os.path.splitext(self.name)[0] if _suffix(self.name) in PACKED else self.name

    @property
    def packed(self) -> bool:
        """Whether it is compressed."""
        return bool(self.member) or _suffix(self.name) in PACKED

    @property
    def is_archive(self) -> bool:
        return _suffix(self.name) == ZIP


class Opener:
    """Opens files one after the other. The archive of the last one stays open, because its list of members is long to read."""

    def __init__(self) -> None:
        self._path, self._archive = "", contextlib.ExitStack()
        self._zip: zipfile.ZipFile

    def __enter__(self) -> Opener:
        return self

    def __exit__(self, *fault: object) -> None:
        self._archive.close()

    @contextlib.contextmanager
    def opened(self, file: TextFile) -> Iterator[io.BufferedIOBase]:
        """A stream of a file's uncompressed bytes. Several compressed parts are read one after the other."""
        with contextlib.ExitStack() as streams:
            stream = streams.enter_context(self._member(file) if file.member else open(file.path, "rb"))
            unpack = PACKED.get(_suffix(file.name))
            yield streams.enter_context(unpack(stream)) if unpack else stream

    def archive(self, path: str) -> zipfile.ZipFile:
        """The zip archive at ``path``."""
        if path != self._path:
            self._archive.close()
            self._zip, self._path = self._archive.enter_context(zipfile.ZipFile(path)), path
        return self._zip

    def _member(self, file: TextFile) -> io.BufferedReader:
        return io.BufferedReader(self.archive(file.path).open(file.member), _BLOCK)  # type: ignore[arg-type]


@contextlib.contextmanager
def damage_named(file: TextFile) -> Iterator[None]:
    """Turn the errors of a damaged file into a UserError that names it. Errors of the system pass."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: damaged {error.encoding.upper()} text ({error.reason} at byte {error.start}); "
                        "save it again as UTF-8") from None
    except (zlib.error, EOFError, lzma.LZMAError, zipfile.BadZipFile, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise UserError(f"{file}: a damaged {_suffix(file.path)} file ({reason(error)}); "
                        "download it or make it again") from None


@contextlib.contextmanager
def faults_named(file: TextFile) -> Iterator[None]:
    """The same for the system's errors too."""
    try:
        with damage_named(file):
            yield
    except OSError as error:
        raise unreadable(file.path, error) from None


def unreadable(path: object, error: OSError) -> UserError:
    """The error for a file or folder that the system can't read."""
    return UserError(f"{path}: cannot be read ({reason(error)}); check that it is complete and that you may read it")


def reason(error: Exception) -> str:
    """The message of an error, as one line."""
    message = getattr(error, "strerror", None) or str(error).strip()
    return message.splitlines()[0] if message else type(error).__name__


@functools.lru_cache(64)  # asked for many times, file by file
def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


class _ZstdFrames(io.RawIOBase):
    """The uncompressed frames of a zstd file.

    zstandard's own stream reader raises no error for an incomplete file; this one does. Raises EOFError if
    the last frame has no end, and zlib.error, like gzip, if a frame is damaged.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        import zstandard  # imported here, because everything else works without it

        self._file, self._fault = file, zstandard.ZstdError
        # 2 GiB is the widest window that zstd writes (--long=31)
        self._context = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._frame: Any = None  # the frame that is being read
        self._packed, self._ready = b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._file.read(_BLOCK)
            if not self._packed:
                if self._frame:
                    raise EOFError("it ends within a frame")
                return 0
            self._unpack()
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _unpack(self) -> None:
        self._frame = self._frame or self._context.decompressobj()
        try:
            self._ready = memoryview(self._frame.decompress(self._packed))
        except self._fault as error:
            raise zlib.error(str(error)) from None
        self._packed = b""
        if self._frame.eof:
            self._packed, self._frame = self._frame.unused_data, None


PACKED: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file, mode="rb"), ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile,
    ".lzma": lzma.LZMAFile, ".zst": lambda file: io.BufferedReader(_ZstdFrames(file), _BLOCK)}
