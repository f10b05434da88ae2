"""A notebook whose cells a test runs, in a kernel of its own."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbclient import NotebookClient


class Notebook:
    """A notebook with a kernel of its own, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._client = NotebookClient(nbformat.v4.new_notebook(), timeout=120, resources={"metadata": {"path": folder}})

    def __enter__(self) -> "Notebook":
        self._kernel = self._client.setup_kernel()
        self._kernel.__enter__()
        return self

    def __exit__(self, *of: object) -> None:
        self._kernel.__exit__(None, None, None)

    def run(self, code: str) -> str:
        """Runs a cell; returns what it has printed, and the text of its value."""
        cell = nbformat.v4.new_code_cell(code)
        self._client.nb.cells.append(cell)
        self._client.execute_cell(cell, len(self._client.nb.cells) - 1)
        parts = [str(each.get("text") or each.get("data", {}).get("text/plain", "")) for each in cell.outputs]
        return "".join(parts)

    def interrupt_when(self, is_time: Callable[[], bool]) -> None:
        """Interrupts the kernel, as a user does, once it is time."""
        ended = threading.Event()

        def watch() -> None:
            while not is_time():
                ended.wait(0.05)
            asyncio.run(self._client.km.interrupt_kernel()) if self._client.km else None

        threading.Thread(target=watch, daemon=True).start()
