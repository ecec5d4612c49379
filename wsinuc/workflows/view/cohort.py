"""The first page: the table of a folder's results, or at once the one that there is."""

from __future__ import annotations

from typing import Any

from wsinuc.exports.report.template import escaping
from wsinuc.workflows.view.handlers import FILES, Handler


class CohortHandler(Handler):
    """The page at the token itself."""

    async def get(self) -> None:
        """A result alone needs no table."""
        # A relative address needs the slash behind the token.
        if not self.request.path.endswith("/"):
            self.redirect(f"{self.request.path}/")
            return
        if not self.library.is_folder:
            (key,) = self.library.sources
            self.redirect(f"view?r={key}")
            return
        rows = await self.threaded(self.library.rows)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(cohort_page(rows))


def cohort_page(rows: list[dict[str, Any]]) -> str:
    """The table, every name escaped."""
    classes = list(dict.fromkeys(name for row in rows for name in row["counts"]))
    return escaping(FILES).get_template("cohort.html").render(rows=rows, classes=classes)
