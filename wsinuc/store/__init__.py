"""Results on disk: what lies where, who may write, what is done, what was written.

Nuclei of blocks go in as sealed files, and a folder or URL that readers can trust comes out.
``result`` says what lies where and is the file to read first; ``lock`` keeps writers apart,
``ledger`` says which blocks are done, ``manifest`` what every file must hold.
"""

from wsinuc.store.files import disk_errors, write_json
from wsinuc.store.ledger import Entry, settings_hash
from wsinuc.store.lock import Holder, LockTiming
from wsinuc.store.parts import NumberedParts, Parts, iter_nuclei, iter_tables, provenance
from wsinuc.store.result import MAX_ID, ResultStore

__all__ = [
    "MAX_ID",
    "Entry",
    "Holder",
    "LockTiming",
    "NumberedParts",
    "Parts",
    "ResultStore",
    "disk_errors",
    "iter_nuclei",
    "iter_tables",
    "provenance",
    "settings_hash",
    "write_json",
]
