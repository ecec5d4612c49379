"""Results on disk: what lies where (`result`), who may write (`lock`), a slide's `calibration`,
whole files (`files`)."""

from wsinuc.store.files import disk_errors, write_json
from wsinuc.store.ledger import Entry, settings_hash
from wsinuc.store.lock import Holder, LockTiming
from wsinuc.store.parts import NumberedParts, Parts, iter_nuclei
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
    "settings_hash",
    "write_json",
]
