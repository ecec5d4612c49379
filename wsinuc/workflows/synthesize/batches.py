"""Batches of samples on one process or on several, in order, at most one waiting per process.

A recipe is plain data that says how to make samples; every process opens it for itself. Batch b
always holds the samples ``b * size`` to ``(b + 1) * size - 1``, also where not all of them are
wanted. So each sample is computed in the same company and with the same shapes whatever the number
of processes and however often the run was interrupted; on a CPU each process computes on one
thread, because the number of threads can change the last bit.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Protocol, cast

import torch

from wsinuc.errors import DeviceMemoryError, SynthesisError, WsinucError
from wsinuc.pipeline.children import deaf_children, end_with_parent
from wsinuc.workflows.synthesize.folder import SyntheticSample

Maker = Callable[[range], list[SyntheticSample]]
"""Makes the samples of these numbers, as one batch."""


class Recipe(Protocol):
    """How samples are made; can be sent to another process."""

    def open(self) -> Maker:
        """Load the networks; raises CheckpointError, ConfigError, DeviceError."""


def batches(count: int, size: int, done: frozenset[int]) -> list[range]:
    """The batches in which one of the first ``count`` samples is still to be made.

    Examples
    --------
    >>> batches(5, 2, frozenset({0, 1}))
    [range(2, 4), range(4, 6)]
    """
    starts = range(0, count, size)
    return [range(at, at + size) for at in starts if any(i not in done for i in range(at, min(at + size, count)))]


def generate(
    recipe: Recipe, work: Sequence[range], *, workers: int, maker: Maker | None = None
) -> Generator[list[SyntheticSample], None, None]:
    """The samples of each batch, in order.

    With several ``workers`` each is a process of its own that makes every so-many-th batch; with
    one, ``maker`` is used if the recipe has been opened already.

    Raises
    ------
    SynthesisError
        A sample is no number any more; it names the samples of the batch. Or a process was killed.
    DeviceMemoryError
        The batch is too large for the device.
    """
    if workers == 1 or len(work) < 2:
        with _one_thread():
            make = maker or recipe.open()
            for numbers in work:
                yield _made(make, numbers)
        return
    # Its networks' memory is the workers' now.
    del maker
    with ExitStack() as stack:
        pool = [stack.enter_context(_process(recipe)) for _ in range(min(workers, len(work)))]
        for worker, numbers in zip(pool, work, strict=False):
            worker.ask(numbers)
        for i, numbers in enumerate(work):
            worker = pool[i % len(pool)]
            # In the order of the batches, whoever is ready first: the manifest reads the same
            # whatever the number of workers.
            samples = worker.answer(numbers)
            if i + len(pool) < len(work):
                # Asked before the samples are handed out: it works while they are stored.
                worker.ask(work[i + len(pool)])
            yield samples


def _made(make: Maker, numbers: range) -> list[SyntheticSample]:
    try:
        return make(numbers)
    except SynthesisError as error:
        raise SynthesisError(f"samples {numbers[0]} to {numbers[-1]}: {error}") from error
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"the device has too little memory for {len(numbers)} samples at once: make --batch-size smaller"
        ) from error


class _Worker:
    """A process that makes batches, seen from its parent."""

    def __init__(self, recipe: Recipe) -> None:
        # Not fork: a forked copy of a process that has used PyTorch's threads can hang.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(recipe, theirs), daemon=True)
        # Ctrl-C reaches every process of a terminal; the parent alone decides what to do.
        with deaf_children():
            self.process.start()
        theirs.close()  # so that its death ends our waiting

    def ask(self, numbers: range) -> None:
        try:
            self.pipe.send(numbers)
        except OSError:
            return  # it has died, or failed and said why: `answer` finds out

    def answer(self, numbers: range) -> list[SyntheticSample]:
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            raise SynthesisError(
                f"the process that made samples {numbers[0]} to {numbers[-1]} ended with code {self.process.exitcode}: "
                "it may have run out of memory; use fewer workers, and run the same command again to continue"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return cast(list[SyntheticSample], answer)

    def close(self) -> None:
        # The process is deaf to milder signals, and has nothing to give back.
        self.process.kill()
        self.process.join()
        self.pipe.close()


@contextmanager
def _process(recipe: Recipe) -> Iterator[_Worker]:
    worker = _Worker(recipe)
    try:
        yield worker
    finally:
        worker.close()


def _work(recipe: Recipe, pipe: Connection) -> None:
    """What a worker does: answer numbers with samples, or once with the error that ends it, until nobody asks."""
    # A killed parent closes no worker.
    end_with_parent()
    try:
        with _one_thread():
            make = recipe.open()
            while True:
                pipe.send(_made(make, pipe.recv()))
    except (EOFError, ConnectionError, KeyboardInterrupt):
        return
    except WsinucError as error:
        pipe.send(error)
    except Exception as error:  # others may not survive the way to the parent
        pipe.send(SynthesisError(f"{type(error).__name__}: {error}"))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
