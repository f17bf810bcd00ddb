"""Runs one of slicewise's networks in PyTorch: the other end of the engines `torch` and `torch-compile`.

slicewise starts this as `python -c` and talks to it over pipes. Requests come on standard input, replies go to standard
output, each one line of JSON:

    {"hello": VERSION}                                    when PyTorch is loaded
    > {"source", "parameters", "inputs", "outputs", "shared", "threads", "bf16", "compile", "marks"}, then the parameters' bytes
    {"ready": [[SETTING, VALUE], ...]}
    > {"fresh", "discard"}                                runs; with "discard" nobody wants the outputs
    {"ran": {"seconds", "cpu_seconds", "peak_rss_bytes", "marks"}}

or {"error": MESSAGE}. Inputs and outputs lie in the file `shared`, which both ends map or read; the clock runs around the
network alone. When standard input ends, so does this process, whatever it is doing.
"""

import sys

sys.path[:] = [folder for folder in sys.path if folder]  # A torch.py in the working folder is not PyTorch.

import contextlib
import json
import linecache
import mmap
import os
import select
import signal
import threading
import time


def end_with_standard_input() -> None:
    """Ends this process and its compilers when slicewise is gone, even in the middle of a run."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(0, 0)
    poll.poll()
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def peak_rss_bytes() -> int | None:
    """The most memory that this process held, where the system tells."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None


DTYPES = {"f32": "float32", "i64": "int64", "i32": "int32", "u16": "uint16", "u8": "uint8", "i8": "int8"}


def tensor(torch, buffer, spec: dict):
    """A tensor on memory that is already there."""
    dtype = getattr(torch, DTYPES[spec["dtype"]])
    count = 1
    for size in spec["shape"]:
        count *= size
    if count == 0:
        return torch.empty(spec["shape"], dtype=dtype)
    return torch.frombuffer(buffer, dtype=dtype, count=count, offset=spec.get("offset", 0)).reshape(spec["shape"])


def receive(stream, count: int) -> bytearray:
    """Exactly `count` bytes."""
    buffer = bytearray(count)
    view, got = memoryview(buffer), 0
    while got < count:
        n = stream.readinto(view[got:])
        if not n:
            raise EOFError("the parameters end early")
        got += n
    return buffer


class Session:
    """A network ready to run."""

    def __init__(self, torch, request: dict, stream) -> None:
        self.torch = torch
        self.marks = []
        torch.set_num_threads(request["threads"])
        torch.set_num_interop_threads(1)
        torch.set_float32_matmul_precision("highest")
        network = self.build(request, stream).eval()
        size = os.path.getsize(request["shared"])
        with open(request["shared"], "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), size)
        self.inputs = [tensor(torch, self.memory, spec) for spec in request["inputs"]]
        self.outputs = [tensor(torch, self.memory, spec) for spec in request["outputs"]]
        self.bf16 = request["bf16"]
        self.network = network
        if request["compile"]:
            self.network = torch.compile(network, fullgraph=True, dynamic=False)
            self.run()  # The first run compiles.

    def build(self, request: dict, stream):
        """The network of the source, with the parameters that follow the request."""
        torch = self.torch
        name, text = "<the network>", request["source"]
        # So that PyTorch's messages can show the line.
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        scope = {"torch": torch, "F": torch.nn.functional, "mark": lambda: self.marks.append(time.perf_counter())}
        exec(compile(text, name, "exec"), scope)
        network = scope["Network"]()
        for i, spec in enumerate(request["parameters"]):
            value = tensor(torch, receive(stream, spec["bytes"]), spec)
            if value.is_floating_point():
                network.register_parameter(f"p{i}", torch.nn.Parameter(value, requires_grad=False))
            else:
                network.register_buffer(f"p{i}", value)
        return network

    def run(self, discard: bool = False) -> dict:
        """Runs the network once; the results are in the shared file afterwards, unless nobody wants them."""
        torch = self.torch
        self.marks.clear()
        autocast = torch.autocast("cpu", dtype=torch.bfloat16) if self.bf16 else contextlib.nullcontext()
        with torch.inference_mode():
            with autocast:
                cpu, begin = time.process_time(), time.perf_counter()
                results = self.network(*self.inputs)
                seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
            for output, result in () if discard else zip(self.outputs, results, strict=True):
                if output.shape != result.shape:
                    raise ValueError(f"made {tuple(result.shape)}, not {tuple(output.shape)}")
                output.copy_(result)
        marks = [mark - begin for mark in self.marks]
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_rss_bytes": peak_rss_bytes(), "marks": marks}

    def settings(self) -> list:
        """What belongs into the record of a measurement."""
        torch = self.torch
        compiled = self.network is not getattr(self.network, "_orig_mod", self.network)
        return [
            ["threads", str(torch.get_num_threads())],
            ["interop_threads", str(torch.get_num_interop_threads())],
            ["mode", "torch.compile" if compiled else "eager"],
            ["autocast", "bfloat16" if self.bf16 else "off"],
            ["memory_format", "contiguous"],
            ["float32_matmul_precision", torch.get_float32_matmul_precision()],
            ["cpu_capability", torch.backends.cpu.get_cpu_capability()],
            ["process", "own"],
        ]


def main() -> None:
    # What libraries print must not be taken for a reply.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    threading.Thread(target=end_with_standard_input, daemon=True).start()

    def reply(message: dict) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    stream, session = sys.stdin.buffer, None
    try:
        import torch

        reply({"hello": torch.__version__})
        for line in iter(stream.readline, b""):
            request = json.loads(line)
            if session is None:
                session = Session(torch, request, stream)
                reply({"ready": session.settings()})
            else:
                reply({"ran": session.run(request["discard"])})
    except Exception as error:
        reply({"error": f"{type(error).__name__}: {error}"})
        raise


if __name__ == "__main__":
    main()
