"""What travels from the command to its workers, which run in other folders."""

from pathlib import Path

from detectors.catalog import DetectorRequest, with_absolute_paths


def test_paths_travel_absolute_and_names_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("weights.safetensors", "model.yaml", "toyworld"):
        Path(name).write_text("")
    Path("names").mkdir()
    here = DetectorRequest(
        name="detectron2", weights="weights.safetensors", vocabulary=Path("names"), config="model.yaml"
    )
    sent = with_absolute_paths(here)
    assert (sent.weights, sent.config) == (str(tmp_path / "weights.safetensors"), str(tmp_path / "model.yaml"))
    assert sent.vocabulary == tmp_path / "names"
    for name in ("toyworld", "random:0", "unc-nlp/frcnn-vg-finetuned"):
        assert with_absolute_paths(DetectorRequest(name="faster-rcnn", weights=name)).weights == name
