"""A publication that is a data set on the Hugging Face Hub, `hf://datasets/OWNER/NAME`, in the form of a store.

The library of the hub does the talking; whom it talks to and by which token is told to it by its own variables (HF_ENDPOINT,
HF_TOKEN) and by `hf auth login`. Names and sizes that the hub tells of are checked as those of any stranger.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import BadInput
from harness.sharing.members import MODELS, RECORDS, Incoming, Place, place_of

SCHEME = "hf://datasets/"

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?\Z", re.ASCII)

CARD = """---
tags:
- inference-harness
---
Runs of `inference-harness`: `harness import {address}` takes them into a store, next to one's own, after checking them.
"""


class Hub:
    """One data set.

    Args:
        address: such as `hf://datasets/someone/runs`.

    Raises:
        BadInput: it is no address of a data set, or there is no huggingface_hub.
    """

    def __init__(self, address: str):
        self.address, self._name = address, address.removeprefix(SCHEME).rstrip("/")
        if not _NAME.match(self._name):
            raise BadInput(f"{address!r} is no data set of the hub: give {SCHEME}OWNER/NAME")
        try:
            import huggingface_hub
            from huggingface_hub.utils.tqdm import disable_progress_bars
        except ImportError as error:
            raise BadInput(
                "the hub needs huggingface_hub: `python -m pip install 'inference-harness[share]'`, or name a folder"
            ) from error
        disable_progress_bars()
        self._library, self._endpoint = huggingface_hub, os.environ.get("HF_ENDPOINT")
        self._api = huggingface_hub.HfApi(endpoint=self._endpoint, library_name="inference-harness")

    def fetch(self, into: Incoming, runs: Collection[tuple[str, str]] | None = None) -> str | None:
        """Copy files of runs, all of them or those of these groups and ids, and return the commit that they are of.

        Raises:
            BadInput: the hub cannot be asked, has no such data set, or as `Incoming.take`.
        """
        with self._explained():
            commit = self._api.repo_info(self._name, repo_type="dataset").sha
            tree = self._api.list_repo_tree(self._name, repo_type="dataset", recursive=True, revision=commit)
            files = self._library.HfFileSystem(endpoint=self._endpoint, skip_instance_cache=True)
            for entry in tree:
                size, place = getattr(entry, "size", None), place_of(entry.path)
                if size is None or place is None or (runs is not None and place[:2] not in runs):
                    continue
                with files.open(f"datasets/{self._name}@{commit}/{place.below.as_posix()}", "rb", block_size=0) as file:
                    into.take(place, file, size)
            return str(commit) if commit else None

    def make(self) -> None:
        """Make the data set, unless it is there."""
        with self._explained():
            self._api.create_repo(self._name, repo_type="dataset", exist_ok=True)

    def send(self, store: Path, runs: Sequence[tuple[str, str]], former: Collection[Place], parent: str | None) -> None:
        """Put all files of runs there in one commit; those that are gone are removed.

        Args:
            store: folder that has them.
            runs: their groups and ids.
            former: files of theirs that are there.
            parent: the commit that they were compared with: one that somebody made meanwhile is an error.
        """
        places = [Place(*run, name) for run in runs for name in (*RECORDS, *MODELS)]
        new = [place for place in places if (store / place.below).is_file()]
        operations: list[Any] = [
            self._library.CommitOperationAdd(place.below.as_posix(), str(store / place.below)) for place in new
        ]
        operations += [
            self._library.CommitOperationDelete(place.below.as_posix()) for place in former if place not in new
        ]
        with self._explained():
            if not self._api.file_exists(self._name, "README.md", repo_type="dataset"):
                card = CARD.format(address=self.address).encode()
                operations.append(self._library.CommitOperationAdd("README.md", card))
            self._api.create_commit(
                self._name, operations, commit_message=f"Runs: {len(runs)}", repo_type="dataset", parent_commit=parent
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the library raises into one sentence."""
        try:
            yield
        except BadInput:
            raise
        except Exception as error:  # of the library and of the one that it talks by, whose versions differ in them
            status = getattr(getattr(error, "response", None), "status_code", None)
            why = {
                401: "it wants you to log in: `hf auth login`, or set HF_TOKEN",
                403: "your account may not do this: give another token by HF_TOKEN",
                404: "it has no such data set, or none that you may see: check the name, or log in by `hf auth login`",
                412: "somebody else has published meanwhile: give the same command again",
            }.get(status or 0, f"{type(error).__name__}: {str(error).rstrip('.')}: check the network, or HF_ENDPOINT")
            raise BadInput(f"the hub cannot do it for {self.address!r}: {why}") from error
