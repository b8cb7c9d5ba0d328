# SPDX-License-Identifier: Apache-2.0
"""What objects take, as far as it can be counted: each tensor, array and buffer once, without copying any.

Libraries are known by the classes in the object's own ancestry, and are never imported.
"""

import sys

#: How the bytes are known, as enum rp_bytes_method has them.
TENSORS, ARRAYS, BUFFER, CONTENTS, FILE, VOCABULARY, NOT_ITS_OWN = 2, 3, 4, 5, 6, 7, 8

#: So many objects are looked at; what has more is measured instead.
_OBJECTS_MAX = 5000

#: What a word of a vocabulary takes in the library `tokenizers`, by the model: as processes were seen to grow with
#: vocabularies of 30,000 and 120,000 made-up words. Unigram keeps a tree of characters.
_WORD_BYTES = {"WordPiece": 210, "BPE": 260, "Unigram": 3100}
#: The same in a dict of Python and one for the way back.
_OTHER_WORD_BYTES = 160

#: Where something inside cannot be looked into, less than this is as good as nothing.
_LITTLE_BYTES = 1 << 20

_LEAVES = (int, float, complex, bool, str, type(None), type, type(Ellipsis), range, slice, property)
_LEAF_MODULES = {"_thread", "threading", "logging", "re", "pathlib", "enum", "functools", "datetime", "decimal", "uuid",
                 "types", "weakref", "collections.abc", "_io", "torch"}


def _ancestors(cls):
    """{(library, class)} of a class and its bases."""
    return {(base.__module__.partition(".")[0], base.__name__) for base in cls.__mro__}


class _Counting:
    def __init__(self):
        self.sums = {}  # {device: bytes}, "" for what is on none of torch's
        self.seen_storages = set()
        self.seen = set()
        self.methods = set()
        self.is_whole = True
        self.left = _OBJECTS_MAX

    def add(self, count, method):
        self.sums[""] = self.sums.get("", 0) + int(count)
        self.methods.add(method)

    # ---- one object ----

    def visit(self, thing):
        """Count it, and return what is to be looked at instead: a sequence, or None."""
        cls = type(thing)
        if cls in _LEAVES or id(thing) in self.seen:
            return None
        self.seen.add(id(thing))
        if isinstance(thing, (bytes, bytearray, memoryview)) or cls.__module__ in ("array", "mmap"):
            return self.visit_buffer(thing)
        if isinstance(thing, dict):
            return list(thing.values())
        if isinstance(thing, (list, tuple, set, frozenset)):
            return list(thing)
        if cls.__module__ == "builtins":
            return None
        return self.visit_library(thing, _ancestors(cls))

    def visit_buffer(self, thing):
        if isinstance(thing, memoryview):
            return None if thing.obj is None else [thing.obj]
        self.add(memoryview(thing).nbytes, BUFFER)
        return None

    def visit_library(self, thing, ancestors):
        if ("torch", "Module") in ancestors or ("torch", "Tensor") in ancestors or ("torch", "TensorBase") in ancestors:
            return self.visit_torch(thing)
        if ("numpy", "ndarray") in ancestors:
            return self.visit_array(thing)
        if ("pandas", "NDFrame") in ancestors or ("pandas", "Index") in ancestors:
            usage = thing.memory_usage(deep=False)
            self.add(getattr(usage, "sum", lambda: usage)(), ARRAYS)
            self.is_whole = self.is_whole and not _has_objects(thing)
            return None
        if ("onnxruntime", "InferenceSession") in ancestors:
            return self.visit_session(thing)
        if ("transformers", "PreTrainedTokenizerBase") in ancestors:
            return self.visit_tokenizer(thing, getattr(thing, "_tokenizer", None))
        if ("tokenizers", "Tokenizer") in ancestors:
            return self.visit_tokenizer(thing, thing)
        if ancestors & {("pyarrow", name) for name in ("_Tabular", "Array", "ChunkedArray", "Buffer")}:
            self.add(getattr(thing, "nbytes", None) or getattr(thing, "size", 0), ARRAYS)
            return None
        return self.visit_unknown(thing)

    def visit_torch(self, thing):
        from . import _torch
        self.methods.add(TENSORS)
        for tensor in _torch.tensors(thing):
            _torch.add_bytes(tensor, self.sums, self.seen_storages)
        return None

    def visit_array(self, array):
        base = array
        while getattr(base, "base", None) is not None and type(base.base).__module__.partition(".")[0] == "numpy":
            base = base.base
        key = "numpy", id(base)
        if key not in self.seen_storages:
            self.seen_storages.add(key)
            self.add(base.nbytes, ARRAYS)
        if array.dtype.hasobject:
            self.is_whole = False
        return None

    def visit_tokenizer(self, thing, fast):
        if fast is None:
            self.add(len(thing) * _OTHER_WORD_BYTES, VOCABULARY)
        else:
            word_bytes = _WORD_BYTES.get(type(fast.model).__name__, _OTHER_WORD_BYTES)
            self.add(fast.get_vocab_size() * word_bytes, VOCABULARY)
        return None

    def visit_session(self, session):
        """There is no call that tells what a session takes: its file, with the weights beside it."""
        import os
        given = getattr(session, "_model_bytes", None)
        path = getattr(session, "_model_path", None)
        if given:
            self.add(len(given), FILE)
        elif path:
            path = os.fspath(path)
            self.add(sum(os.path.getsize(each) for each in (path, path + ".data", path + "_data")
                         if os.path.exists(each)), FILE)
        self.is_whole = False
        return None

    def visit_unknown(self, thing):
        """Attributes of an object of Python; another's inside cannot be looked into."""
        inside = getattr(thing, "__dict__", None)
        slots = [getattr(thing, name, None) for base in type(thing).__mro__
                 for name in _slots_of(base.__dict__.get("__slots__", ()))]
        if type(inside) is not dict and not slots:
            self.is_whole = self.is_whole and type(thing).__module__.partition(".")[0] in _LEAF_MODULES
            return None
        return [*(inside or {}).values(), *slots]

    # ---- all ----

    def walk(self, thing):
        stack = [thing]
        while stack:
            if self.left == 0:
                return False
            self.left -= 1
            more = self.visit(stack.pop())
            if more:
                if len(more) > self.left:
                    return False
                stack.extend(more)
        return True


def _slots_of(slots):
    return (slots,) if isinstance(slots, str) else slots


def _has_objects(frame):
    dtypes = getattr(frame, "dtypes", None)
    dtypes = dtypes if hasattr(dtypes, "__iter__") else [getattr(frame, "dtype", None)]
    return any(str(each) == "object" for each in dtypes)


def _method(counting, is_all):
    if is_all and len(counting.methods) == 1 and FILE not in counting.methods:
        return next(iter(counting.methods))
    if counting.methods == {FILE}:
        return FILE
    if is_all and not counting.methods & {FILE, VOCABULARY}:
        return TENSORS if TENSORS in counting.methods else ARRAYS
    return CONTENTS


def measure(thing, device):
    """(bytes, method) of an object that was put on `device`; None: nobody can say.

    Of what lies on several devices, those on `device` count if there are any.
    """
    if type(thing) is type(sys) or isinstance(thing, type(sys)):
        return None, NOT_ITS_OWN
    counting = _Counting()
    if not counting.walk(thing) or not counting.methods:
        return None
    total = sum(counting.sums.values())
    if not counting.is_whole and total < _LITTLE_BYTES and FILE not in counting.methods:
        return None
    if device and TENSORS in counting.methods:
        from . import _torch
        name = _torch.device_name(device)
        there = counting.sums.get(name, 0) + (counting.sums.get("", 0) if name == "cpu" else 0)
        total = there or total
    return total, _method(counting, counting.is_whole)
