# SPDX-License-Identifier: Apache-2.0
# What the extension has, for type checkers. Docstrings are in the extension, the reference is docs/python_api.md.
import builtins
from collections.abc import Callable, Coroutine, Generator, Mapping
from logging import Logger
from os import PathLike
from types import GenericAlias, MappingProxyType, TracebackType
from typing import Any, Generic, Literal, Protocol, TypeVar, final, overload

from typing_extensions import Self

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Preferences = Mapping[str, Any]
_Share = Literal["process", "machine"]
_Constructor = Callable[[], _T]
_AsyncConstructor = Callable[[], Coroutine[Any, Any, _T]]

__version__: str

class ResourcePoolError(Exception):
    status: str
    hint: str

class AbsentError(ResourcePoolError): ...
class ArgumentError(ResourcePoolError, ValueError): ...
class BusyError(ResourcePoolError): ...
class CancelledError(ResourcePoolError): ...
class CapacityError(ResourcePoolError): ...
class CycleError(ResourcePoolError): ...
class DataError(ResourcePoolError): ...
class ForkedError(ResourcePoolError): ...
class LimitError(ResourcePoolError): ...
class LoadError(ResourcePoolError): ...
class MemoryError(ResourcePoolError, builtins.MemoryError): ...
class NotFoundError(ResourcePoolError, LookupError): ...
class RunError(ResourcePoolError): ...
class StateError(ResourcePoolError): ...
class SystemError(ResourcePoolError, OSError): ...
class TimeoutError(ResourcePoolError, builtins.TimeoutError): ...
class UnsupportedError(ResourcePoolError, NotImplementedError): ...

@final
class Lease(Generic[_T_co]):
    def __enter__(self) -> _T_co: ...
    def __exit__(
        self, type: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    @classmethod
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def release(self) -> None: ...
    @property
    def object(self) -> _T_co: ...
    @property
    def key(self) -> str: ...
    @property
    def device(self) -> str | None: ...
    @property
    def precision(self) -> str | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def memory_bytes(self) -> int | None: ...
    @property
    def released(self) -> bool: ...

class _Leasing(Protocol[_T_co]):
    def __await__(self) -> Generator[Any, Any, Lease[_T_co]]: ...
    async def __aenter__(self) -> _T_co: ...
    async def __aexit__(self, *raised: Any) -> None: ...

class ResourcePool:
    def __new__(
        cls, *, budget: int | str | None = None, history: str | None = None, low_memory: bool = False,
        idle_expiry: float | None = None, share: _Share | None = None,
    ) -> Self: ...
    @overload
    def get_model(
        self, model_type: str, model_name: str, constructor: _Constructor[_T],
        hardware_preferences: _Preferences | None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None,
        share: _Share | None = None,
    ) -> _T: ...
    @overload
    def get_model(
        self, model_type: str, model_name: str, constructor: None = None,
        hardware_preferences: _Preferences | None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None,
        share: _Share | None = None,
    ) -> Any: ...
    @overload
    def get_tokenizer(
        self, model_type: str, model_name: str, constructor: _Constructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> _T: ...
    @overload
    def get_tokenizer(
        self, model_type: str, model_name: str, constructor: None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Any: ...
    @overload
    def get_resource(
        self, resource_type: str, resource_id: str | None, constructor: _Constructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> _T: ...
    @overload
    def get_resource(
        self, resource_type: str, resource_id: str | None = None, *, constructor: _Constructor[_T],
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> _T: ...
    @overload
    def get_resource(
        self, resource_type: str, resource_id: str | None = None, constructor: None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Any: ...
    @overload
    def lease_model(
        self, model_type: str, model_name: str, constructor: _Constructor[_T],
        hardware_preferences: _Preferences | None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None,
        share: _Share | None = None,
    ) -> Lease[_T]: ...
    @overload
    def lease_model(
        self, model_type: str, model_name: str, constructor: None = None,
        hardware_preferences: _Preferences | None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None,
        share: _Share | None = None,
    ) -> Lease[Any]: ...
    @overload
    def lease_tokenizer(
        self, model_type: str, model_name: str, constructor: _Constructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Lease[_T]: ...
    @overload
    def lease_tokenizer(
        self, model_type: str, model_name: str, constructor: None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Lease[Any]: ...
    @overload
    def lease_resource(
        self, resource_type: str, resource_id: str | None, constructor: _Constructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Lease[_T]: ...
    @overload
    def lease_resource(
        self, resource_type: str, resource_id: str | None = None, *, constructor: _Constructor[_T],
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Lease[_T]: ...
    @overload
    def lease_resource(
        self, resource_type: str, resource_id: str | None = None, constructor: None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Lease[Any]: ...
    @overload
    def get_model_async(
        self, model_type: str, model_name: str, constructor: _AsyncConstructor[_T],
        hardware_preferences: _Preferences | None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None,
        share: _Share | None = None,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def get_model_async(
        self, model_type: str, model_name: str, constructor: _Constructor[_T],
        hardware_preferences: _Preferences | None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None,
        share: _Share | None = None,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def get_model_async(
        self, model_type: str, model_name: str, constructor: None = None,
        hardware_preferences: _Preferences | None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None,
        share: _Share | None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    @overload
    def get_tokenizer_async(
        self, model_type: str, model_name: str, constructor: _AsyncConstructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def get_tokenizer_async(
        self, model_type: str, model_name: str, constructor: _Constructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def get_tokenizer_async(
        self, model_type: str, model_name: str, constructor: None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    @overload
    def get_resource_async(
        self, resource_type: str, resource_id: str | None, constructor: _AsyncConstructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def get_resource_async(
        self, resource_type: str, resource_id: str | None = None, *, constructor: _AsyncConstructor[_T],
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def get_resource_async(
        self, resource_type: str, resource_id: str | None, constructor: _Constructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def get_resource_async(
        self, resource_type: str, resource_id: str | None = None, *, constructor: _Constructor[_T],
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def get_resource_async(
        self, resource_type: str, resource_id: str | None = None, constructor: None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    @overload
    def lease_model_async(
        self, model_type: str, model_name: str, constructor: _AsyncConstructor[_T],
        hardware_preferences: _Preferences | None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None,
        share: _Share | None = None,
    ) -> _Leasing[_T]: ...
    @overload
    def lease_model_async(
        self, model_type: str, model_name: str, constructor: _Constructor[_T],
        hardware_preferences: _Preferences | None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None,
        share: _Share | None = None,
    ) -> _Leasing[_T]: ...
    @overload
    def lease_model_async(
        self, model_type: str, model_name: str, constructor: None = None,
        hardware_preferences: _Preferences | None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None,
        share: _Share | None = None,
    ) -> _Leasing[Any]: ...
    @overload
    def lease_tokenizer_async(
        self, model_type: str, model_name: str, constructor: _AsyncConstructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> _Leasing[_T]: ...
    @overload
    def lease_tokenizer_async(
        self, model_type: str, model_name: str, constructor: _Constructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> _Leasing[_T]: ...
    @overload
    def lease_tokenizer_async(
        self, model_type: str, model_name: str, constructor: None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> _Leasing[Any]: ...
    @overload
    def lease_resource_async(
        self, resource_type: str, resource_id: str | None, constructor: _AsyncConstructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> _Leasing[_T]: ...
    @overload
    def lease_resource_async(
        self, resource_type: str, resource_id: str | None = None, *, constructor: _AsyncConstructor[_T],
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> _Leasing[_T]: ...
    @overload
    def lease_resource_async(
        self, resource_type: str, resource_id: str | None, constructor: _Constructor[_T], *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> _Leasing[_T]: ...
    @overload
    def lease_resource_async(
        self, resource_type: str, resource_id: str | None = None, *, constructor: _Constructor[_T],
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> _Leasing[_T]: ...
    @overload
    def lease_resource_async(
        self, resource_type: str, resource_id: str | None = None, constructor: None = None, *,
        timeout: float | None = None, allow_none: bool = False, size: int | None = None, share: _Share | None = None,
    ) -> _Leasing[Any]: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...
    def cleanup_unused_resources(self, max_age_minutes: float = 30) -> int: ...
    def get_stats(self) -> dict[str, Any]: ...
    def get_resource_details(self, resource_key: str, /) -> dict[str, Any]: ...
    def move_model_to_device(self, model_type: str, model_name: str, device: str) -> Any: ...
    def reserve(
        self, device: str, memory: int | str, *, name: str | None = None, timeout: float | None = None
    ) -> Lease[None]: ...
    def check_memory_pressure(self) -> bool: ...
    def enable_low_memory_mode(self) -> None: ...
    def get_recommended_device(self, model_type: str, model_family: str | None = None) -> str: ...
    def explain(
        self, model_type: str, model_name: str, hardware_preferences: _Preferences | None = None
    ) -> dict[str, Any]: ...
    def generate_error_report(
        self, model_name: str, hardware_type: str, error_message: str | BaseException, stack_trace: str | None = None
    ) -> dict[str, Any]: ...
    def save_error_report(
        self, report: Mapping[str, Any], output_dir: str | PathLike[str] = "./hardware_reports"
    ) -> str: ...
    @property
    def resources(self) -> MappingProxyType[str, Any]: ...
    @property
    def models(self) -> MappingProxyType[str, Any]: ...
    @property
    def tokenizers(self) -> MappingProxyType[str, Any]: ...
    @property
    def _stats(self) -> dict[str, Any]: ...
    @property
    def low_memory_mode(self) -> bool: ...
    @property
    def available_memory_mb(self) -> float | None: ...
    @property
    def logger(self) -> Logger: ...

# For the package's own modules.
_KINDS: tuple[str, ...]
_FAMILIES: dict[str, tuple[str, ...]]

def _load() -> Any: ...
def _classify(
    name: str | None, model_class: str | None = None, model_type: str | None = None, tasks: Any = (),
    methods: Any = (), database: str | None = None,
) -> dict[str, Any]: ...
def _facts(
    name: str | None, model_class: str | None = None, model_type: str | None = None, tasks: Any = (),
    methods: Any = (), database: str | None = None,
) -> dict[str, Any]: ...
def _record(
    database: str, name: str, family: str, subfamily: str | None = None, confidence: float = 1.0
) -> None: ...
def _hardware(
    cache: str | None = None, refresh: bool = False, all: bool = False, simulate: str | None = None
) -> dict[str, Any]: ...
def _level(family: Any, kind: Any) -> Any: ...
def _memory_need(
    model: Any, precision: str | None = None, batch_size: int = 0, context_length: int = 0
) -> Any: ...
def _place(model: Any, snapshot: Any, preferences: Any = None) -> dict[str, Any]: ...
