# SPDX-License-Identifier: Apache-2.0
"""As much of torch as the guide's blocks touch, for where torch is not installed. It computes nothing."""

import contextlib


class device:
    def __init__(self, name="cpu"):
        self.type, _, number = str(name).partition(":")
        self.index = int(number) if number else None

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other):
        return str(self) == str(other)

    def __hash__(self):
        return hash(str(self))


class Tensor:
    def __init__(self, *shape, device_name="cpu"):
        self.shape = shape
        self.device = device(device_name)

    def to(self, where, *_, **__):
        return Tensor(*self.shape, device_name=where)


class cuda:
    @staticmethod
    def is_available():
        return False


def no_grad():
    return contextlib.nullcontext()
