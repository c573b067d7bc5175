"""Every model, corruption, loss and precision trains, or is refused with a reason."""

import pytest

from conftest import ROOT
from daezoo.quiet import quieten
from daezoo.studies import matrix
from daezoo.studies.cells import rows_of
from daezoo.studies.matrix import CORRUPTIONS, LOSSES, MODELS, PRECISIONS, attempt

TABLE = ROOT / "docs/studies/matrix.csv"
SAMPLE = [
    *(("VanillaDAE", name, "SquaredError", "32-true") for name in CORRUPTIONS if name not in ("Clean", "Recorded")),
    *(("VariationalDAE", "Clean", name, "bf16-mixed") for name in LOSSES),
    *((name, "Gaussian", "FixedGaussian", "bf16-mixed") for name in MODELS),
]
REFUSED = {
    ("StackedDAE", "Clean", "Categorical", "32-true"): "needs 256. Set tied: false",
    ("ResidualDAE", "Gaussian", "CrossEntropy", "32-true"): "cannot train with CrossEntropy",
    ("ResidualDAE", "Clean", "SquaredError", "32-true"): "nothing for ResidualDAE to learn",
    ("ConvDAE", "Recorded", "SquaredError", "32-true"): "it comes with the data, of --data pairs",
}


@pytest.fixture(autouse=True)
def quiet():
    quieten()


@pytest.mark.parametrize("case", SAMPLE, ids=" ".join)
def test_a_sample_of_the_matrix_trains(case):
    assert attempt(*case) == ""


@pytest.mark.parametrize("case", REFUSED, ids=" ".join)
def test_a_sample_of_the_matrix_is_refused(case):
    assert REFUSED[case] in attempt(*case)


def test_what_neither_trains_nor_is_refused_is_an_error(monkeypatch):
    monkeypatch.setitem(matrix.LOSSES, "SquaredError", type("Constant", (type(LOSSES["SquaredError"]),), CONSTANT)())
    with pytest.raises(RuntimeError, match="neither trains nor is refused"):
        attempt("VanillaDAE", "Gaussian", "SquaredError", "32-true")


CONSTANT = {"elementwise": lambda self, output, clean: 0 * (output - clean)}


def test_the_command_goes_on_and_renders(daezoo_command, workplace):
    args = ("reproduce", "matrix", "--only", "VanillaDAE Recorded SquaredError")
    assert daezoo_command(*args)[0] == 0
    text = (workplace / "docs/matrix.md").read_text()
    assert "| Recorded | no (1) |" in text
    assert "1. Recorded noise cannot be drawn" in text
    assert daezoo_command(*args)[0] == 0
    assert len(rows_of(workplace / "docs/studies/matrix.csv")) == len(PRECISIONS)


@pytest.mark.slow
def test_the_whole_matrix_is_as_the_table_says():
    for row in rows_of(TABLE):
        assert attempt(row["model"], row["corruption"], row["loss"], row["precision"]) == row["refused"], row
