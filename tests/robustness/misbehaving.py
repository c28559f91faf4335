"""Readers that a hostile file has led astray, for the helper that must outlive them."""

import os
import signal


def endless(file: str, data: bytes) -> str:
    while True:
        pass


def greedy(file: str, data: bytes) -> str:
    return "x" * 10**10


def crash(file: str, data: bytes) -> str:
    os.kill(os.getpid(), signal.SIGSEGV)


def printing(file: str, data: bytes) -> str:
    print("noise")
    os.system("echo noise")
    return f"{file} {len(data)}"
