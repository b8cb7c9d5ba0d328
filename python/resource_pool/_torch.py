# SPDX-License-Identifier: Apache-2.0
"""What is known of torch's objects. Nothing here imports torch: who has such an object did."""

import copy as _copy
import sys
import weakref

from ._place import refusal, warn

#: Precisions of the pool that are types of numbers; the others are ways to quantise.
_DTYPES = {"fp64": "float64", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}

#: What the pool gave out: {id: weak reference}. Their tensors are never changed.
_given = {}


def _torch():
    return sys.modules["torch"]


def _class(name):
    """torch.nn.Module or torch.Tensor; a class without instances where this torch has none."""
    found = _torch()
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else _Nothing


class _Nothing:
    pass


def is_module(thing):
    return isinstance(thing, _class("nn.Module"))


def is_tensor(thing):
    return isinstance(thing, _class("Tensor"))


def is_pipeline(thing):
    """A transformers pipeline: a model, what feeds it, and where it is."""
    return any(base.__name__ == "Pipeline" and base.__module__.startswith("transformers.")
               for base in type(thing).__mro__) and is_module(getattr(thing, "model", None))


def knows(thing):
    return is_module(thing) or is_tensor(thing) or is_pipeline(thing)


# ---- tensors of an object ----------------------------------------------------------------


def tensors(thing):
    """Its parameters, buffers and plain attributes that are tensors, each once."""
    if is_tensor(thing):
        return [thing]
    found = {}
    tensor_class = _class("Tensor")
    for module in (thing.model if is_pipeline(thing) else thing).modules():
        inside = module.__dict__
        for value in (*inside["_parameters"].values(), *inside["_buffers"].values(), *inside.values()):
            if isinstance(value, tensor_class):
                found[id(value)] = value
    return list(found.values())


def _storage_parts(tensor):
    """Those that lie inside a tensor of many parts, or itself."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        for name in names:
            yield from _storage_parts(getattr(tensor, name))
    elif str(getattr(tensor, "layout", "torch.strided")) != "torch.strided":
        if tensor.layout == _torch().sparse_coo:
            yield from (tensor._indices(), tensor._values())
        else:
            for name in ("crow_indices", "ccol_indices", "row_indices", "col_indices", "values"):
                try:
                    yield getattr(tensor, name)()
                except (AttributeError, RuntimeError):
                    pass  # not of this layout
    else:
        yield tensor


def add_bytes(tensor, sums, seen):
    """Add a tensor's memory to sums {device: bytes}, unless it was seen: {(device, address)}."""
    for part in _storage_parts(tensor):
        device = str(part.device)
        if device == "meta":
            continue
        storage = part.untyped_storage()
        key = device, storage.data_ptr()
        if key in seen or not key[1]:
            continue
        seen.add(key)
        sums[device] = sums.get(device, 0) + storage.nbytes()


# ---- where ---------------------------------------------------------------------------------


def device_name(device):
    """The pool's name of a device as torch has it; None: none of torch's."""
    kind, _, index = device.partition(":")
    if kind in ("cuda", "rocm"):
        return f"cuda:{index or 0}"
    return kind if kind in ("cpu", "mps") else None


def _has(name):
    torch = _torch()
    if name.startswith("cuda"):
        return bool(getattr(torch, "cuda", None)) and torch.cuda.is_available()
    if name == "mps":
        return bool(torch.backends.mps.is_available())
    return True


def _device_for(thing, target, is_move=False):
    """Where torch is to put it; None: where it is."""
    name = device_name(target.device)
    if target.simulated or name is None:
        return None
    if name == "cpu" and not is_move:
        return None
    if _has(name):
        return name
    missing = f"this torch ({getattr(_torch(), '__version__', 'unknown')}) cannot use {target.device}"
    if target.required:
        raise refusal(f"cannot put a {type(thing).__name__} on {target.device}: {missing}",
                      "install a torch that can, or ask for the device 'cpu'")
    warn(f"a {type(thing).__name__} that was placed on {target.device} stays on the CPU: {missing}")
    return None


def _is_quantised(thing, precision, all_tensors):
    """Whether its constructor made it of such numbers: then there is nothing to do."""
    model = thing.model if is_pipeline(thing) else thing
    if getattr(model, {"int8": "is_loaded_in_8bit", "int4": "is_loaded_in_4bit"}.get(precision, "-"), False):
        return True
    if precision == "int8" and is_module(model):
        if any(".quantized" in type(each).__module__ for each in model.modules()):
            return True
    wanted = {"int8": ("int8", "qint8", "quint8"), "int4": ("int4", "uint4"),
              "fp8": ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")}.get(precision, ())
    return any(str(each.dtype).rpartition(".")[2] in wanted for each in all_tensors)


def _dtype_for(thing, target, all_tensors):
    """The type of its numbers; None: as they are."""
    if target.precision is None:
        return None
    name = _DTYPES.get(target.precision)
    if name:
        return getattr(_torch(), name)
    if _is_quantised(thing, target.precision, all_tensors):
        return None
    raise refusal(f"cannot make a {type(thing).__name__} {target.precision}: torch casts to {', '.join(_DTYPES)} only",
                  "quantise it in its constructor, or register a function for its class with resource_pool.placer()")


def _is_there(tensor, device, dtype):
    if dtype is not None and tensor.is_floating_point() and tensor.dtype != dtype:
        return False
    if device is None:
        return True
    where = _torch().device(device)
    return tensor.device.type == where.type and (where.index is None or tensor.device.index == where.index)


def _wishes(device, dtype):
    return {name: value for name, value in (("device", device), ("dtype", dtype)) if value is not None}


def _is_split(thing):
    """Whether its constructor laid it over several devices."""
    model = thing.model if is_pipeline(thing) else thing
    return len({str(each) for each in (getattr(model, "hf_device_map", None) or {}).values()}) > 1


def _remember(thing):
    key = id(thing)
    if is_pipeline(thing):
        thing = thing.model
    try:
        _given[key] = weakref.ref(thing, lambda _: _given.pop(key, None))
    except TypeError:
        pass  # what knows no weak references is not followed


def _is_given(all_tensors):
    """Whether any of the tensors is part of an object that the pool gave out and that lives."""
    known = [each for each in (reference() for reference in list(_given.values())) if each is not None]
    held = {id(tensor) for each in known for tensor in tensors(each)}
    return any(id(tensor) in held for tensor in all_tensors)


# ---- putting it there ----------------------------------------------------------------------


def _to(thing, device, dtype):
    wishes = _wishes(device, dtype)
    if is_tensor(thing):
        if not thing.is_floating_point():
            wishes.pop("dtype", None)
        new = thing.detach().to(**wishes)
        if type(thing) is _class("nn.Parameter"):
            return type(thing)(new, requires_grad=thing.requires_grad)
        return new.requires_grad_(thing.requires_grad) if thing.is_leaf else new
    model = thing.model if is_pipeline(thing) else thing
    model.to(**wishes)
    if is_pipeline(thing) and device is not None:
        thing.device = _torch().device(device)
    return thing


def place(thing, target):
    """Put a fresh object there. What the pool gave out before is copied instead."""
    device = _device_for(thing, target)
    if (device is not None or target.precision is not None) and not _is_split(thing):
        all_tensors = tensors(thing)
        dtype = _dtype_for(thing, target, all_tensors)
        if not all(_is_there(each, device, dtype) for each in all_tensors):
            if _is_given(all_tensors):
                thing = _copy_to(thing, device, dtype, {})
            else:
                thing = _move(thing, device, dtype, all_tensors)
    _remember(thing)
    return thing


def _move(thing, device, dtype, all_tensors):
    before = str(all_tensors[0].device)
    try:
        return _to(thing, device, dtype)
    except BaseException:
        # Half of it is there, and the traceback keeps it: what comes next needs that memory.
        if not is_tensor(thing) and device is not None and before != "meta":
            try:
                _to(thing, before, None)
            finally:
                give_back(device_name(device).partition(":")[0])
        raise


def copy(thing, target):
    """A copy of it there."""
    device = _device_for(thing, target, is_move=True)
    if _is_split(thing):
        raise refusal(f"cannot move a {type(thing).__name__}: its constructor laid it over several devices",
                      "load it again for one")
    dtype = _dtype_for(thing, target, tensors(thing))
    new = _copy_to(thing, device, dtype, target.memo)
    _remember(new)
    return new


def _copy_to(thing, device, dtype, memo):
    """deepcopy() of all but the tensors, which go over one by one: the old device never holds two."""
    if is_tensor(thing):
        return _new_tensor(thing, device, dtype, {})
    model = thing.model if is_pipeline(thing) else thing
    moved = {}
    for tensor in tensors(model):
        if id(tensor) not in memo:
            memo[id(tensor)] = _new_tensor(tensor, device, dtype, moved)
    if is_pipeline(thing):
        for name in ("tokenizer", "feature_extractor", "image_processor", "processor"):
            other = getattr(thing, name, None)
            memo[id(other)] = other  # nobody changes them, and they are large
    try:
        new = _copy.deepcopy(thing, memo)
    except (TypeError, AttributeError, NotImplementedError) as why:
        raise refusal(f"cannot move a {type(thing).__name__}: no copy of it can be made ({why})",
                      "register a function for its class with resource_pool.placer()") from why
    wishes = _wishes(device, dtype)
    return _to(new, device, dtype) if wishes else new


def _new_tensor(tensor, device, dtype, moved):
    """A tensor's like on the device; those that share memory share it there."""
    torch = _torch()
    if not tensor.is_floating_point():
        dtype = None
    is_plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
    if not is_plain or tensor.is_quantized or tensor.device.type == "meta":
        new = tensor.detach().to(copy=True, **_wishes(device, dtype))
    else:
        storage = tensor.untyped_storage()
        is_part = storage.nbytes() != tensor.numel() * tensor.element_size() or not tensor.is_contiguous()
        key = str(tensor.device), storage.data_ptr(), tensor.dtype
        if key not in moved and not is_part:
            new = moved[key] = tensor.detach().to(copy=True, **_wishes(device, dtype))
        else:
            if key not in moved:
                whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(storage)
                moved[key] = whole.to(copy=True, **_wishes(device, dtype))
            new = moved[key].as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(new, requires_grad=tensor.requires_grad) if is_plain else _copied(tensor, new)
    return new.requires_grad_(tensor.requires_grad) if tensor.is_leaf and new.is_floating_point() else new


def _copied(tensor, new):
    """A parameter of a class of its own: as its class copies itself, with the numbers there."""
    made = _copy.deepcopy(tensor)
    made.data = new
    return made


# ---- memory that is free ---------------------------------------------------------------------


def give_back(kinds):
    """Let torch's allocators return what they keep: of "cuda", "mps" or both."""
    torch = _torch()
    cuda = getattr(torch, "cuda", None)
    if "cuda" in kinds and cuda is not None and cuda.is_available() and cuda.is_initialized():
        cuda.empty_cache()
    mps = getattr(torch, "mps", None)
    if "mps" in kinds and mps is not None and torch.backends.mps.is_available():
        mps.empty_cache()
