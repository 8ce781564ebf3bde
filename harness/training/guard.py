"""What an algorithm may not do, as its cost or its result would not be what the harness says: looked for around steps.

It is a guard against mistakes, in the process of the algorithm itself, and not against malice; docs/reliability.md lists what it
notices and what it does not.
"""

import _thread
import os
import sys
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, get_num_threads

from harness.errors import RunFailed
from harness.specs import plugin_file
from harness.specs.budget import Ledger
from harness.specs.run import RunSpec
from harness.training.process import UNMETERED, watch
from harness.training.subject import Subject

INIT_SECONDS = 60.0
"""Of CPU time that `init` may take: its clock is not that of training."""
CHILD_SECONDS = 0.01
"""Of CPU time of other processes, from which on it is said that there were some."""

_CODE, _METHOD = (FunctionType, type), (FunctionType, property, classmethod, staticmethod)

Code = tuple[str, Mapping[str, object], str, object]
"""A function or a class: whose it is in words, the names of all that this has, its own name, and what it is."""


class Guard:
    """Looks at a run's process, data, models and ledger around the steps of its algorithm.

    Args:
        spec: the run.
        subject: its data, and its models as they are evaluated.
        ledger: what the algorithm spends.
        estimators: the modules of those by which it is evaluated.
    """

    def __init__(self, spec: RunSpec, subject: Subject, ledger: Ledger, estimators: Iterable[ModuleType]):
        algorithm = spec.algorithm.plugin("algorithms").module
        plugins = [spec.model.plugin("models").module, spec.dataset.plugin("datasets").module, *estimators]
        self._plugins = [module for module in plugins if module is not algorithm]
        self._who, self._package = f"algorithm {spec.algorithm.name!r}", algorithm.__name__.partition(".")[0]
        self._ledger, self._threads, dataset = ledger, spec.threads, subject.dataset
        self._splits = {split: getattr(dataset, split) for split in ("train", "valid", "test")}
        self._splits = {split: points for split, points in self._splits.items() if points is not None}
        self._data = [points for points in self._splits.values() if not points.is_inference()]
        self._data_versions = [points._version for points in self._data]
        self._sums = {split: checksum(points) for split, points in self._splits.items()}
        self._parts = subject.parts
        self._flats = [(part.params, part.params.flat, part.params.flat.data_ptr()) for part in self._parts]
        self._code = list(self._code_now())
        watch.process, watch.made, watch.unseen = os.getpid(), None, False
        self.settle()

    def settle(self) -> None:
        """Take everything for right as it is: after parameters were loaded, or code was compiled."""
        self._versions = [flat._version for _, flat, _ in self._flats]
        self._samples = self._ledger.samples
        self._ledger.settle()
        self._note_threads()

    def _note_threads(self) -> None:
        self._forks, self._live = watch.forks, _thread._count()
        self._known = set(threading.enumerate())

    def _new_threads(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread not in self._known]

    def _is_algorithms(self, what: object) -> bool:
        """Say whether a function or a class is of the algorithm's own code, or of another file of the user's."""
        module = str(getattr(what, "__module__", ""))
        return plugin_file.is_users(module) or (
            self._package != "harness" and module.partition(".")[0] == self._package
        )

    @contextmanager
    def init(self, cpu: Any) -> Iterator[None]:
        """Watch `init`, which may change no parameter: its CPU seconds are not those of training.

        Args:
            cpu: tells the CPU seconds of its clock.
        """
        self._require_no_thread_of_its_own()
        before, began = self._learned(), cpu()
        watch.on = True
        try:
            yield
        finally:
            self._end()
        self._look()
        if self._learned() != before:
            raise self._refusal(
                "changed parameters in init, before the clocks run: let them begin as the seed says, and change them in step"
            )
        if (seconds := cpu() - began) > INIT_SECONDS:
            raise self._refusal(
                f"took {seconds:.0f} CPU seconds for init, which training is not charged for, and {INIT_SECONDS:.0f} are "
                "allowed: compute in step"
            )

    @contextmanager
    def steps(self) -> Iterator[None]:
        """Watch steps, between which nothing but the clock of training runs: all that they leave behind is found at their end.

        A copy of the process that a step has made ends here, and does not go on with the run.
        """
        process, children = os.getpid(), self._children()
        self._note_threads()
        if any(flat._version != version for (_, flat, _), version in zip(self._flats, self._versions, strict=True)):
            raise self._changed_outside()
        watch.on = True
        try:
            yield
        finally:
            if os.getpid() != process:
                os._exit(0)
            self._end()
        self._look()
        self._require_no_more_children(children)

    def _end(self) -> None:
        """No code of the algorithm runs any more: note the threads that it has left, whether it has failed or not."""
        watch.on = False
        if _thread._count() > self._live:
            new = self._new_threads()
            watch.left += new
            watch.unseen = watch.unseen or not new

    def _look(self) -> None:
        """Look at what code of the algorithm has done that has not failed."""
        if (
            watch.made is not None
            or watch.forks != self._forks
            or _thread._count() > self._live
            or get_num_threads() != self._threads
            or not self._ledger.settled
            or self._ledger.samples < self._samples
        ):
            raise self._refusal(self._found())
        self._samples = self._ledger.samples
        if [points._version for points in self._data] != self._data_versions:
            raise self._refusal(self._data_changed())
        for number, (params, flat, address) in enumerate(self._flats):
            if params.flat is not flat or flat.data_ptr() != address:
                raise self._refusal(
                    "put another tensor in the place of params.flat, which models do not compute with: change it in place, "
                    "as by `params.flat.copy_(...)` under torch.no_grad()"
                )
            self._versions[number] = flat._version

    def _found(self) -> str:
        """Return in words what was found after steps."""
        if watch.made is not None:
            return f"{watch.made}, {UNMETERED}"
        if watch.forks != self._forks:
            return f"forked, {UNMETERED}"
        if get_num_threads() != self._threads:
            return f"called set_num_threads({get_num_threads()}), and the run has {self._threads}: give --threads"
        if _thread._count() > self._live:
            return self._left(self._new_threads())
        return "changed the ledger, which the harness alone writes"

    @staticmethod
    def _left(threads: list[threading.Thread]) -> str:
        names = " and ".join(list(dict.fromkeys(repr(thread.name) for thread in threads))[:3]) or "a thread"
        return (
            f"left {names} running, and what a thread computes while the clocks stand still is not metered: join it in the "
            "step that starts it"
        )

    def _require_no_thread_of_its_own(self) -> None:
        """Raise RunFailed where the algorithm's file has started a thread when it was imported."""
        own = [t for t in self._known if self._is_algorithms(getattr(t, "_target", None) or type(t)) and t.is_alive()]
        if own:
            watch.left += own
            raise self._refusal(self._left(own))

    @staticmethod
    def _children() -> tuple[bool, float]:
        """Return whether this process has others that it has started, and the CPU seconds of those that have ended."""
        try:
            import resource

            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = used.ru_utime + used.ru_stime
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False, seconds
        except (ImportError, AttributeError):  # a system without them
            return False, 0.0
        return True, seconds

    def _require_no_more_children(self, before: tuple[bool, float]) -> None:
        """Raise RunFailed where there are other processes, or have been some, that were not there before."""
        some, seconds = self._children()
        if (some and not before[0]) or seconds > before[1] + CHILD_SECONDS:
            raise self._refusal(f"started a process, {UNMETERED}")

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Look before and after an evaluation, during which no parameter may change; at what takes longer than a step, too."""
        before = self._learned()
        for split, points in self._splits.items():
            if checksum(points) != self._sums[split]:
                raise self._refusal(self._data_changed())
        self._require_same_code()
        yield
        if self._learned() != before:
            raise self._changed_outside()

    def _learned(self) -> list[int]:
        return [checksum(flat) for _, flat, _ in self._flats]

    def _require_same_code(self) -> None:
        for where, names, name, expected in self._code:
            if names.get(name) is not expected:
                raise self._refusal(f"replaced {where}.{name}, by which the run is measured: leave it as it is")

    def _code_now(self) -> Iterator[Code]:
        """Yield the functions and classes that a run is made and measured by, where they are now.

        Raises:
            RunFailed: some of them are the algorithm's, whose file has put them there when it was imported.
        """
        own = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "harness"]
        plugins = [module for module in self._plugins if module not in own]
        for module, is_own in [*((module, True) for module in own), *((module, False) for module in plugins)]:
            for name, value in vars(module).items():
                if not isinstance(value, _CODE):
                    continue
                if is_own and self._is_algorithms(value):
                    raise self._refusal(f"put its own code in the place of {module.__name__}.{name}: leave it as it is")
                yield module.__name__, vars(module), name, value
                if not isinstance(value, FunctionType) and value.__module__ == module.__name__:
                    where = f"{module.__name__}.{name}"
                    for method, each in vars(value).items():
                        if is_own and isinstance(each, FunctionType) and self._is_algorithms(each):
                            raise self._refusal(f"put its own code in the place of {name}.{method}: leave it as it is")
                        if isinstance(each, _METHOD):
                            yield where, vars(value), method, each
        for part in self._parts:
            for name in dir(type(part)):
                if isinstance(getattr(type(part), name), FunctionType):
                    yield type(part).__name__, vars(part), name, vars(part).get(name)

    def _changed_outside(self) -> RunFailed:
        return self._refusal(
            "changed parameters while no step was running and the clocks stood still: compute in step, and leave no thread, "
            "hook or signal handler behind"
        )

    def _data_changed(self) -> str:
        changed = [split for split, points in self._splits.items() if checksum(points) != self._sums[split]]
        which = " and ".join(changed) or "train"
        return f"changed the data ({which}) in place, from which everything is computed: change a copy, `x = x.clone()`"

    def _refusal(self, words: str) -> RunFailed:
        watch.made = None
        return RunFailed(f"{self._who} {words}")


def checksum(values: Tensor) -> int:
    """Return a checksum of all bytes of a tensor."""
    return zlib.crc32(values.detach().contiguous().cpu().view(torch.uint8).numpy().data)
