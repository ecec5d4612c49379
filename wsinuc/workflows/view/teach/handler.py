"""What the page asks of the writing of learned classes: to begin, and how far it is."""

from __future__ import annotations

from typing import Any

from wsinuc.errors import DataError
from wsinuc.shown import shown
from wsinuc.workflows.view.handlers import Handler, teaching
from wsinuc.workflows.view.opened import Source
from wsinuc.workflows.view.teach.apply import DONE, FOLDER


class ApplyHandler(Handler):
    """The result with learned classes, beside the one that is looked at."""

    async def get(self, key: str) -> None:
        """How far it is."""
        self.answer(self._report(key))

    async def post(self, key: str) -> None:
        """Begin, unless it is being written already."""
        content = self.content()
        self.answer(await self.threaded(lambda: self._start(key, content)))

    def _start(self, key: str, content: dict[str, Any]) -> dict[str, Any]:
        learned = teaching(self.library.open(key)).learned
        if learned is None:
            raise DataError("nothing was learned yet, or the viewer was started again since: press Learn first")
        self.library.applying(key).start(learned, replace=content.get("replace") is True)
        return self._report(key)

    def _report(self, key: str) -> dict[str, Any]:
        job = self.library.applying(key)
        report = job.report()
        report |= {name: shown(report[name]) for name in ("stage", "place")}
        report["counts"] = {shown(name): count for name, count in report["counts"].items()}
        if report["state"] == DONE:
            source = Source(job.out, job.slide, FOLDER)
            report["key"] = self.library.add(source, job.version)
            report["name"] = shown(source.name)
        return report
