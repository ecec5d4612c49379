"""Results on disk: what lies where (`result`), who may write (`lock`), a slide's `calibration`, whole files (`files`)."""

from wsinuc.store.files import disk_errors, write_json
from wsinuc.store.result import MAX_ID, Entry, Parts, ResultStore, iter_nuclei, settings_hash

__all__ = ["MAX_ID", "Entry", "Parts", "ResultStore", "disk_errors", "iter_nuclei", "settings_hash", "write_json"]
