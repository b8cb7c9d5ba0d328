# SPDX-License-Identifier: Apache-2.0
"""Objects as parts that processes share, and back. Imported by share.c when the first object is shared.

An object becomes a pickle stream (protocol 5) and the buffers that belong to it: numpy arrays, torch storages. What
is shared has these parts:

    0      a head: magic, version, sizes, a checksum; and what it says as JSON (_read has the checks)
    1      the stream, which each process unpickles for itself
    2      buffers of up to 64 KiB, one after the other, at multiples of 64
    3...   one larger buffer each, which so begins on a page

A buffer that is mapped from a file, and not written to since, is not copied: the JSON says where it is in which file.
Of an object that cannot be shared there is a note instead, so that all others know at once.
"""

import bisect
import io
import json
import os
import pickle
import re
import struct
import sys
import types
import zlib

from . import _core

MAGIC = b"rpobject"
VERSION = 1
HEAD = struct.Struct("<8sHHIQI")  # magic, version, 0, bytes of the JSON, of the stream, checksum of both

IN_BAND_BYTES = 4096  # smaller buffers go with the stream
PACKED_BYTES = 65536  # smaller ones share a part
ALIGN = 64
TEXT_MAX = 200

# Between processes that cannot read each other's pickles, or have other libraries, nothing is shared.
_PLACE = "\0".join([str(VERSION), sys.version, sys.abiflags, sys.prefix])
KEY_SUFFIX = f" [{sys.implementation.cache_tag}-{zlib.crc32(_PLACE.encode('utf-8', 'replace')):08x}]"


class _Refused(Exception):
    """It could be pickled, but must not be."""


# ---- what other libraries' objects need -------------------------------------------------------


def _storage(buffer):
    """A torch storage on memory that is there already."""
    torch = sys.modules.get("torch") or __import__("torch")
    if not len(buffer):
        return torch.UntypedStorage(0)
    return torch.frombuffer(buffer, dtype=torch.uint8).untyped_storage()


def _typed_storage(storage, dtype):
    torch = sys.modules["torch"]
    return torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)


def _parameter(kind, rebuild, arguments):
    """A parameter of a class of somebody's own, as copy.deepcopy() would leave it: class and attributes."""
    made = rebuild(*arguments)
    torch = sys.modules["torch"]
    found = torch.Tensor._make_subclass(kind, made.detach(), made.requires_grad)
    found.__dict__.update(made.__dict__)
    found._backward_hooks = made._backward_hooks
    return found


def _memmap(array, attributes):
    import numpy

    array = array.view(numpy.memmap)
    for name, value in attributes.items():
        setattr(array, name, value)
    return array


def _reduce_tensor(pickler, tensor):
    if tensor.device.type not in ("cpu", "meta"):
        raise _Refused(f"it is on {tensor.device}, and only what the CPU has can be shared")
    reduced = tensor.__reduce_ex__(5)
    name = getattr(reduced[0], "__name__", None)
    if name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        kind = type(tensor)
        if kind is not sys.modules["torch"].nn.Parameter:  # torch forgets the class
            return _parameter, (kind, *reduced)
        return reduced
    if name != "_rebuild_tensor_v3":
        return reduced
    # Of the newer number types: torch writes the one kind of storage there, and reads the other.
    untyped = reduced[1][0]
    untyped = pickler.storages.setdefault(untyped._cdata, untyped)
    return reduced[0], (_typed_storage(untyped, sys.modules["torch"].uint8), *reduced[1][1:]), *reduced[2:]


def _reduce_typed_storage(pickler, storage):
    untyped = storage._untyped_storage
    return _typed_storage, (pickler.storages.setdefault(untyped._cdata, untyped), storage.dtype)


def _reduce_storage(pickler, storage):
    if storage.device.type != "cpu":
        raise _Refused(f"it is on {storage.device}, and only what the CPU has can be shared")
    if not storage.nbytes():
        return _storage, (b"",)
    memory = _core._memory(storage.data_ptr(), storage.nbytes(), storage)
    return _storage, (pickle.PickleBuffer(memory),)


def _reduce_array(pickler, array):
    """numpy has buffers of what lies in one piece only; anything else it copies into the stream."""
    if array.flags.forc or array.dtype.hasobject or array.nbytes < IN_BAND_BYTES:
        return NotImplemented
    whole = array.copy()
    whole.flags.writeable = array.flags.writeable
    return whole.__reduce_ex__(5)


def _reduce_memmap(pickler, array):
    import numpy

    plain = array.view(numpy.ndarray)
    if array.dtype.hasobject:
        return NotImplemented
    if not plain.flags.forc:
        plain = plain.copy()
        plain.flags.writeable = array.flags.writeable
    attributes = {name: getattr(array, name, None) for name in ("filename", "offset", "mode")}
    return _memmap, (plain, attributes)


def _reducer_of(kind):
    """What is done with objects of a class; None: what pickle does."""
    torch = sys.modules.get("torch")
    numpy = sys.modules.get("numpy")
    if torch is not None and hasattr(torch, "storage"):
        if issubclass(kind, torch.Tensor):
            return _reduce_tensor
        if issubclass(kind, torch.storage.TypedStorage):
            return _reduce_typed_storage
        if issubclass(kind, torch.UntypedStorage):
            return _reduce_storage
    if numpy is not None and hasattr(numpy, "memmap"):
        if kind is numpy.ndarray:
            return _reduce_array
        if kind is numpy.memmap:
            return _reduce_memmap
    return None


# ---- pickling ---------------------------------------------------------------------------------


class _Reducing:
    """What both picklers below do: the quick one, and the one that knows where it is."""

    def prepare(self):
        self.storages = {}  # torch's, by their address: tied weights stay tied
        self.modules = set()
        self.reducers = {}

    def reducer_override(self, obj):
        kind = type(obj)
        try:
            reducer = self.reducers[kind]
        except KeyError:
            self.note_module(kind)
            reducer = self.reducers[kind] = _reducer_of(kind)
        if reducer is not None:
            return reducer(self, obj)
        if kind is types.FunctionType or kind is types.BuiltinFunctionType or isinstance(obj, type):
            self.note_module(obj)
        return NotImplemented

    def note_module(self, obj):
        name = getattr(obj, "__module__", None)
        if name == "__mp_main__" or (name == "__main__" and not _main_file()):
            raise _Refused(f"'{obj.__qualname__}' is of '{name}', which other processes have not")
        if type(name) is str:
            self.modules.add(name)


class _Pickler(_Reducing, pickle.Pickler):
    def __init__(self, stream, buffers):
        super().__init__(stream, 5, buffer_callback=buffers.take)
        self.prepare()


class _Buffers:
    """Where the buffers of a stream go. Apart from the pickler, which would refer to itself, and to all it pickled."""

    def __init__(self):
        self.mappings = None
        self.rows = []  # [part, offset, bytes]; of a file: part is -1 - its index
        self.files = []
        self.packed = []
        self.packed_bytes = 0
        self.large = []

    def close(self):
        if self.mappings is not None:
            self.mappings.close()

    def take(self, buffer):
        """Pickle's question, whether this buffer is to go with the stream."""
        raw = buffer.raw()
        size = raw.nbytes
        if size < IN_BAND_BYTES:
            return True
        if self.mappings is None:
            self.mappings = _Mappings()
        place = self.mappings.find(_core._address(raw), size)
        if place:
            row, offset = place
            if row not in self.files:
                self.files.append(row)
            self.rows.append([-1 - self.files.index(row), offset, size])
        elif size < PACKED_BYTES:
            self.rows.append([2, self.packed_bytes, size])
            gap = -size % ALIGN
            self.packed += [raw, bytes(gap)]
            self.packed_bytes += size + gap
        else:
            self.large.append(raw)
            self.rows.append([2 + len(self.large), 0, size])
        return False


# A line of /proc/self/maps. "rw-p", and "r--s", as numpy and Rust map what is only read: into "rw-s" anybody may write.
_MAPPED = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) r(?:..p|-.s) ([0-9a-f]+) \S+ ([0-9]+) +(/.*)$", re.MULTILINE)

# The highest byte of a page's entry: there (0x80) or swapped out (0x40), and not the file's own (0x20).
_WRITTEN = bytes(1 if top & 0xC0 and not top & 0x20 else 0 for top in range(256))
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class _Mappings:
    """What of this process's memory is mapped from files: privately, or only to be read."""

    def __init__(self):
        self.starts = []
        self.rows = []
        self.files = {}
        self.pagemap = None
        with open("/proc/self/maps", "rb") as maps:
            for start, end, offset, inode, path in _MAPPED.findall(maps.read()):
                self.starts.append(int(start, 16))
                self.rows.append((int(end, 16), int(offset, 16), int(inode), os.fsdecode(path)))

    def close(self):
        if self.pagemap is not None:
            self.pagemap.close()

    def find(self, address, size):
        """([path, device, inode, mtime_ns, bytes], offset) of the file that has these bytes; None."""
        at = bisect.bisect_right(self.starts, address) - 1
        if at < 0:
            return None
        end, offset, inode, path = self.rows[at]
        if address + size > end:
            return None
        if path not in self.files:
            self.files[path] = _describe(path)
        row = self.files[path]
        offset += address - self.starts[at]
        if not row or row[2] != inode or offset + size > row[4] or self.is_written(address, size):
            return None
        return row, offset

    def is_written(self, address, size):
        """Whether a page of a private mapping is this process's own by now, or nobody can say."""
        first = address // _PAGE_BYTES
        count = (address + size - 1) // _PAGE_BYTES - first + 1
        try:
            if self.pagemap is None:
                self.pagemap = open("/proc/self/pagemap", "rb", buffering=0)
            self.pagemap.seek(first * 8)
            entries = b""
            while len(entries) < count * 8:
                more = self.pagemap.read(count * 8 - len(entries))
                if not more:
                    return True
                entries += more
        except OSError:
            return True
        tops = entries[7::8] if sys.byteorder == "little" else entries[::8]
        return b"\1" in tops.translate(_WRITTEN)


def _describe(path):
    """[path, device, inode, mtime_ns, bytes] of a plain file; None."""
    import stat

    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return [path, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size]


# ---- what it was made with --------------------------------------------------------------------


def _file_state(path):
    row = _describe(os.path.abspath(path)) if type(path) is str else None
    return [row[0], row[3], row[4]] if row else None


def _main_file():
    """The program, as far as other processes can run it as well."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return os.path.abspath(path) if type(path) is str and os.path.isfile(path) else None


def _version(name):
    version = getattr(sys.modules.get(name.partition(".")[0]), "__version__", None)
    return str(version) if isinstance(version, str) else None  # torch has a class of its own for it


def _module_rows(names):
    """[name, version, path, mtime_ns, bytes] of modules that are not Python's own."""
    rows = []
    for name in sorted(names):
        module = sys.modules.get(name)
        top = name.partition(".")[0]
        if module is None or (top in sys.stdlib_module_names and name != "__main__"):
            continue
        state = _file_state(getattr(module, "__file__", None)) or [None, None, None]
        rows.append([name, _version(name), *state])
    return rows


def _constructor_file(constructor):
    """Where a constructor was written: its path, time and size. None where there is no such file."""
    for _ in range(16):
        inner = getattr(constructor, "__wrapped__", None) or getattr(constructor, "__func__", None)
        if inner is None and type(constructor).__module__ == "functools":
            inner = getattr(constructor, "func", None)
        if inner is None:
            break
        constructor = inner
    code = getattr(constructor, "__code__", None)
    if code is not None:
        return _file_state(code.co_filename)
    kind = constructor if isinstance(constructor, type) else type(constructor)
    return _file_state(getattr(sys.modules.get(kind.__module__), "__file__", None))


def _changed(meta):
    """What became of the files and libraries that it was made with: (word, reason); None: nothing."""
    made = meta["constructor"]
    if made and _file_state(made[0]) != made:
        return "stale", f"'{made[0]}', where its constructor is, has changed"
    for name, version, path, mtime_ns, size in meta["modules"]:
        if name == "__main__" and path != _main_file():
            return "alone", f"it is made of what '{path}' defines, which is not this program"
        if path and _file_state(path) != [path, mtime_ns, size]:
            return "stale", f"'{path}' has changed"
        try:
            # With a file it is one that can be imported; unpickling would do so in a moment.
            __import__(name if path and name != "__main__" else name.partition(".")[0])
        except Exception as error:  # noqa: BLE001  (whatever an import raises)
            return "alone", f"'{name}' cannot be imported here: {_text(error)}"
        own = getattr(sys.modules.get(name), "__file__", None)
        # First: two checkouts of different versions would have the object made anew at each other's cost for ever.
        if path and type(own) is str and os.path.abspath(own) != path:
            return "alone", f"its '{name}' is '{path}', and here it is '{os.path.abspath(own)}'"
        if _version(name) != version:
            return "stale", f"'{name.partition('.')[0]}' was {version}, and is {_version(name)}"
    for row in meta["files"]:
        if _describe(row[0]) != row:
            return "stale", f"'{row[0]}', which has a part of it, has changed"
    return None


# ---- why not ----------------------------------------------------------------------------------


def _text(error):
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:TEXT_MAX].rstrip(" .:") or type(error).__name__


class _Tracer(_Reducing, pickle._Pickler):
    """The pickler that is written in Python: slow, and it can be asked where it is."""

    def __init__(self):
        super().__init__(io.BytesIO(), 5, buffer_callback=lambda buffer: False)
        self.prepare()
        self.trail = []

    def save(self, obj, save_persistent_id=True):
        self.trail.append(obj)
        super().save(obj, save_persistent_id)
        self.trail.pop()


def _step(parent, child, is_state):
    """How one gets from an object to a part of it: (text, whether that is still inside its state)."""
    if isinstance(parent, dict):
        for key, value in parent.items():
            if value is child:
                return (f".{key}" if is_state and type(key) is str else f"[{key!r:.40}]"), False
        return "", False
    if isinstance(parent, (list, tuple)):
        if is_state:
            return "", True
        for index, value in enumerate(parent):
            if value is child:
                return f"[{index}]", False
        return "", False
    return "", True


def _path(root, trail):
    path = root
    is_state = False
    for parent, child in zip(trail[:200], trail[1:]):
        text, is_state = _step(parent, child, is_state)
        for folder in ("._modules", "._parameters", "._buffers"):  # torch's: people know them by their names
            if path.endswith(folder) and text.startswith("['"):
                path = path[:-len(folder)]
                text = "." + text[2:-2]
        path += text
    return path if len(path) <= TEXT_MAX else path[:TEXT_MAX] + "..."


def _what(obj, error):
    """The sentence about the part that stands in the way."""
    is_named = isinstance(obj, (type, types.FunctionType)) and not isinstance(error, _Refused)
    if is_named and "<" in obj.__qualname__:
        return f"cannot pickle '{obj.__module__}.{obj.__qualname__}', which has no name that others could import it by"
    return _text(error)


def _why(obj, root, error):
    """'model.encoder.lock: cannot pickle '_thread.lock' object': once more, to see where."""
    try:
        tracer = _Tracer()
        tracer.dump(obj)
    except Exception as again:  # noqa: BLE001
        trail = tracer.trail
        try:
            return f"{_path(root, trail)}: {_what(trail[-1], again)}"
        except Exception:  # noqa: BLE001  (whatever the objects on the way do when they are asked)
            return f"{root}: {_text(again)}"
    return f"{root}: {_text(error)}"


# ---- parts ------------------------------------------------------------------------------------


def _head(meta, stream):
    text = json.dumps(meta).encode()
    checksum = zlib.crc32(stream, zlib.crc32(text))
    return HEAD.pack(MAGIC, VERSION, 0, len(text), len(stream), checksum) + text


def _meta(constructor, modules=(), **more):
    return {"pid": os.getpid(), "constructor": _constructor_file(constructor), "modules": _module_rows(modules),
            "buffers": [], "files": [], "note": None, "is_silent": False, **more}


def note(reason, constructor):
    """Parts that say that it cannot be shared. No reason: nobody need be told."""
    return [_head(_meta(constructor, note=reason or "it is a module", is_silent=not reason), b""), b""]


def dump(obj, root, constructor):
    """(parts, reason): a list of buffers; reason says why they are only a note, "" that nobody need be told."""
    if isinstance(obj, types.ModuleType):
        return note("", constructor), ""
    stream = io.BytesIO()
    buffers = _Buffers()
    pickler = _Pickler(stream, buffers)
    try:
        pickler.dump(obj)
    except Exception as error:  # noqa: BLE001  (whatever a __reduce__ raises)
        reason = _why(obj, root, error)
        return note(reason, constructor), reason
    finally:
        buffers.close()
    meta = _meta(constructor, pickler.modules, buffers=buffers.rows, files=buffers.files)
    body = stream.getbuffer()
    return [_head(meta, body), body, bytearray().join(buffers.packed), *buffers.large], None


def _is_row(row, *kinds):
    return type(row) is list and len(row) == len(kinds) and all(
        type(value) in kind and (type(value) is not int or value >= 0) for value, kind in zip(row, kinds))


def _is_meta(meta):
    none = type(None)
    if type(meta) is not dict or set(meta) != set(_meta(None)):
        return False
    state = ((str, none), (int, none), (int, none))
    rows = (([meta["constructor"]] if meta["constructor"] is not None else [], ((str,), (int,), (int,))),
            (meta["modules"], ((str,), (str, none), *state)),
            (meta["files"], ((str,), (int,), (int,), (int,), (int,))))
    for row, kinds in rows:
        if type(row) is not list or not all(_is_row(each, *kinds) for each in row):
            return False
    return (type(meta["pid"]) is int and type(meta["note"]) in (str, none) and type(meta["is_silent"]) is bool
            and type(meta["buffers"]) is list)


def _read(parts):
    """The JSON and the stream. ValueError: they are not what dump() made."""
    if len(parts) < 2:
        raise ValueError(f"an object of {len(parts)} parts, where there are at least 2")
    head = bytes(parts[0])
    if len(head) < HEAD.size or head[:8] != MAGIC:
        raise ValueError("it does not begin as objects of Python do")
    _, version, zero, text_bytes, stream_bytes, checksum = HEAD.unpack_from(head)
    if version != VERSION or zero:
        raise ValueError(f"it is of version {version}.{zero}, and this package knows {VERSION}.0")
    stream = memoryview(parts[1])
    if len(head) != HEAD.size + text_bytes or stream.nbytes != stream_bytes:
        raise ValueError(f"parts of {len(head)} and {stream.nbytes} bytes, where its head says "
                         f"{HEAD.size + text_bytes} and {stream_bytes}")
    text = head[HEAD.size:]
    if zlib.crc32(stream, zlib.crc32(text)) != checksum:
        raise ValueError("its checksum is another: it is damaged")
    meta = json.loads(text)
    if not _is_meta(meta):
        raise ValueError("its description lacks something")
    return meta, stream


def _map(row):
    """A file as writable memory of this process's own. OSError; ValueError: it is another file by now."""
    import mmap

    fd = os.open(row[0], os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if [found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size] != row[1:]:
            raise ValueError(f"'{row[0]}' has changed")
        unreserved = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
        return memoryview(mmap.mmap(fd, row[4], flags=mmap.MAP_PRIVATE | unreserved,
                                    prot=mmap.PROT_READ | mmap.PROT_WRITE))
    finally:
        os.close(fd)


def _buffers(meta, parts):
    views = [memoryview(part) for part in parts]
    files = {}
    for row in meta["buffers"]:
        if type(row) is not list or len(row) != 3 or any(type(value) is not int for value in row):
            raise ValueError("a buffer is described by something else than three numbers")
        part, offset, size = row
        if part < 0 and -1 - part < len(meta["files"]):
            if part not in files:
                files[part] = _map(meta["files"][-1 - part])
            view = files[part]
        elif 2 <= part < len(views):
            view = views[part]
        else:
            raise ValueError(f"a buffer in part {part} of {len(views)}")
        if offset < 0 or size <= 0 or offset + size > view.nbytes:
            raise ValueError(f"a buffer of {size} bytes at {offset} in a part of {view.nbytes}")
        yield view[offset:offset + size]


def load(parts):
    """What parts are to this process:

    ("object", object, private bytes, shared bytes); ("alone", reason): it has to make its own, silently where the
    reason is ""; ("stale", reason): everybody has to, since what it was made with has changed. Any exception: they
    are of no use.
    """
    meta, stream = _read(parts)
    changed = _changed(meta)
    if changed:
        return changed
    if meta["note"] is not None:
        return "alone", "" if meta["is_silent"] else meta["note"]
    buffers = list(_buffers(meta, parts))
    obj = pickle.loads(stream, buffers=buffers)
    return "object", obj, stream.nbytes, sum(view.nbytes for view in buffers)
