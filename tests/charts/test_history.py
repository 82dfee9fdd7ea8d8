"""The curves of a metrics.csv that grows, or is damaged."""

from pathlib import Path

from vae3d.charts.history import History


def test_zeros_that_a_crash_left_end_the_curves(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"step,epoch,split,loss\n1,0,train,0.5\n")
    with path.open("ab") as file:
        # A terabyte that takes no space: read as a line, it would take all memory.
        file.truncate(2**40)
    history = History(path)
    history.read_new_rows()
    assert history.curves["train", "loss"].points == [(1.0, 0.5)]
