"""What lies around each nucleus of a result, by the classes that it is given: measurements that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.nuclei.reclassified import depends_on_classes
from wsinuc.workflows.reclassify.learn import Learned
from wsinuc.workflows.reclassify.tables import ResultTable


@dataclass(frozen=True, slots=True)
class ClassNeighbours:
    """Measurements of neighbours by class, for all nuclei of a result."""

    columns_of: Callable[[int, int], dict[str, NDArray[np.float32]]]
    """Columns of the nuclei of a range of rows."""

    @classmethod
    def of(cls, table: ResultTable, learned: Learned) -> ClassNeighbours:
        """Where all nuclei are and of which new class."""
        # SciPy's trees take a while to import, and most tables do without.
        from wsinuc.nuclei.neighbours import Neighbourhood

        centroids = [np.zeros((0, 2))]
        classes = [np.zeros(0, np.uint8)]
        for part in table.parts():
            centroids.append(np.column_stack([part["y_px"].to_numpy(), part["x_px"].to_numpy()]))
            classes.append(learned.classify(part).indices)
        names = [each.name for each in learned.classes]
        mpp = float(table.summary["settings"]["mpp"])
        around = Neighbourhood(np.concatenate(centroids), np.concatenate(classes), names, mpp)
        return cls(around.columns)

    def columns(self, start: int, stop: int) -> dict[str, NDArray[np.float32]]:
        """Measurements by class of nuclei ``start`` to ``stop - 1``; those of all nuclei stay as they are."""
        columns = self.columns_of(start, stop)
        return {name: values for name, values in columns.items() if depends_on_classes(name)}
