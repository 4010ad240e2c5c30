"""The functions of libunbound that are used, declared for ctypes (unbound.h of 1.17; the ABI of libunbound.so.8)."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_char, c_char_p, c_int, c_void_p

NAME = "libunbound.so.8"
CLASS_IN = 1
NOERROR, NXDOMAIN = 0, 3


class Result(ctypes.Structure):
    """`struct ub_result`: valid until `ub_resolve_free`."""

    _fields_ = [
        ("qname", c_char_p),
        ("qtype", c_int),
        ("qclass", c_int),
        ("data", POINTER(POINTER(c_char))),
        ("len", POINTER(c_int)),
        ("canonname", c_char_p),
        ("rcode", c_int),
        ("answer_packet", c_void_p),
        ("answer_len", c_int),
        ("havedata", c_int),
        ("nxdomain", c_int),
        ("secure", c_int),
        ("bogus", c_int),
        ("why_bogus", c_char_p),
        ("was_ratelimited", c_int),
        ("ttl", c_int),
    ]


ResultPointer = POINTER(Result)
Callback = CFUNCTYPE(None, c_void_p, c_int, ResultPointer)

_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "ub_version": (c_char_p, []),
    "ub_strerror": (c_char_p, [c_int]),
    "ub_ctx_create": (c_void_p, []),
    "ub_ctx_delete": (None, [c_void_p]),
    "ub_ctx_set_option": (c_int, [c_void_p, c_char_p, c_char_p]),
    "ub_ctx_set_fwd": (c_int, [c_void_p, c_char_p]),
    "ub_ctx_add_ta": (c_int, [c_void_p, c_char_p]),
    "ub_ctx_add_ta_file": (c_int, [c_void_p, c_char_p]),
    "ub_ctx_async": (c_int, [c_void_p, c_int]),
    "ub_ctx_debugout": (c_int, [c_void_p, c_void_p]),
    "ub_ctx_zone_remove": (c_int, [c_void_p, c_char_p]),
    "ub_fd": (c_int, [c_void_p]),
    "ub_process": (c_int, [c_void_p]),
    "ub_resolve_async": (c_int, [c_void_p, c_char_p, c_int, c_int, c_void_p, Callback, POINTER(c_int)]),
    "ub_cancel": (c_int, [c_void_p, c_int]),
    "ub_resolve_free": (None, [ResultPointer]),
}


def load(name: str = NAME) -> ctypes.CDLL:
    """The library. Raises OSError when the system does not have it, or has another."""
    library = ctypes.CDLL(name)
    try:
        for function, (result, arguments) in _SIGNATURES.items():
            declared = getattr(library, function)
            declared.restype, declared.argtypes = result, arguments
    except AttributeError as error:
        raise OSError(f"{name} is not the library we know: {error}") from error
    return library


def missing_library() -> str:
    """Why the library cannot be used; "" when it can."""
    try:
        load()
    except OSError as error:
        return str(error)
    return ""
