"""The leaderboard's table: rows are kept, and each is set against the reference of the same conditions."""

from pathlib import Path

import pytest

from benchmarks import quality

ROW = {
    "date": "2026-11-23", "commit": "0" * 7, "machine": "a", "network": "quick", "pair": "C to A", "minutes": "8",
    "took": "8.1", "iterations": "1000", "identity": "0.8",
}  # fmt: skip


def test_rows_are_kept_and_new_columns_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "TABLE", tmp_path / "quality.csv")
    assert quality.known_rows() == []
    quality.append(ROW)
    quality.append({**ROW, "network": "original", "source_ms_ssim": "0.9"})
    first, second = quality.known_rows()
    assert (first["network"], first["source_ms_ssim"]) == ("quick", "")
    assert (second["network"], second["source_ms_ssim"]) == ("original", "0.9")


def test_a_network_is_compared_with_the_reference_of_the_same_conditions() -> None:
    other = {**ROW, "network": "original", "identity": "0.4", "source_ms_ssim": "0.9"}
    elsewhere = {**ROW, "machine": "b", "identity": "0.1"}
    lines = quality.compared([other], [{**ROW, "identity": "0.2"}, ROW, elsewhere, other])
    assert any("identity" in line and "0.500 of quick's" in line for line in lines)
    assert any("source_ms_ssim" in line and "quick's" not in line for line in lines)
    assert any("no row of quick" in line for line in quality.compared([other], [elsewhere]))
