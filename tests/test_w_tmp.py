import os, signal
from dataclasses import dataclass
import numpy as np, pytest
from oracle import OracleSegmenter, write_slide
from runs import config
import wsinuc.segmenters
from wsinuc.pipeline.executor import ExecutorConfig, open_executor
from wsinuc.tasks.cohort import segment_cohort
from wsinuc.tasks.slide_list import SlideJob
from test_isolated import hostile, hostile_slide

@dataclass(frozen=True)
class Deadly(OracleSegmenter):
    here: int = 0
    def __reduce__(self):
        return Deadly, (self.mpp, self.tile, self.margin, self.classes, self.delay, self.settings, [], __import__("threading").Lock, self.here) if False else (self.mpp, self.tile, self.margin, self.classes, self.delay, self.settings)
    def predict(self, pixels):
        if os.getpid() != self.here and (pixels == 7).all(axis=(1,2,3)).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(pixels)

def test_reader(hostile, monkeypatch, tmp_path):
    monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", lambda model, device: OracleSegmenter())
    good = [write_slide(tmp_path / f"{name}.tiff", (600, 600), levels=1, seed=1) for name in "abc"]
    bad = hostile_slide(tmp_path, "abort-20")
    with open_executor(ExecutorConfig(kind="processes", workers=2)) as ex:
        s = segment_cohort([SlideJob(slide=p) for p in (good[0], bad, *good[1:])], tmp_path/"out", config(block=128), executor=ex)
    print([(x.name, x.state, x.error) for x in s.slides])

def test_killed(monkeypatch, tmp_path):
    import tifffile
    monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", lambda model, device: Deadly())
    good = [write_slide(tmp_path / f"{name}.tiff", (600, 600), levels=1, seed=1) for name in "abc"]
    bad = tmp_path/"bad.tiff"
    tifffile.imwrite(bad, np.full((600,600,3),7,np.uint8), tile=(128,128), photometric="rgb", resolution=(20000,20000), resolutionunit="CENTIMETER")
    with open_executor(ExecutorConfig(kind="processes", workers=2, retries=2)) as ex:
        s = segment_cohort([SlideJob(slide=p) for p in (good[0], bad, *good[1:])], tmp_path/"out", config(block=128), executor=ex)
    print([(x.name, x.state, x.error) for x in s.slides])
