from pathlib import Path

import numpy as np
import pytest
from sklearn.impute import SimpleImputer

from conftest import CONFIGS
from daezoo import tabular
from daezoo.data import TableData
from daezoo.studies import imputation
from daezoo.studies.cells import rows_of
from daezoo.studies.tables import results


def test_a_fifth_of_the_cells_is_emptied_and_imputers_see_only_what_is_left(tmp_path):
    whole, holed = imputation.emptied(1)
    assert holed.isna().to_numpy().mean() == pytest.approx(0.2, abs=0.01)
    assert not holed.equals(imputation.emptied(0)[1])
    tabular.write(holed, tmp_path / "t.csv")
    data = TableData(str(tmp_path / "t.csv"), split_seed=1)
    filled, (train, valid, test) = imputation.theirs(SimpleImputer(), holed, data), data.parts()
    kept = holed.iloc[test.numpy()].notna().to_numpy()
    np.testing.assert_allclose(filled[kept], whole.iloc[test.numpy()].to_numpy()[kept])
    seen = holed.iloc[[*train.tolist(), *valid.tolist()]].mean().to_numpy()
    np.testing.assert_allclose(filled[~kept], np.broadcast_to(seen, filled.shape)[~kept])


@pytest.mark.slow
def test_one_command_fills_all_and_once_only(daezoo_command, workplace, monkeypatch):
    monkeypatch.setattr(imputation, "IMPUTERS", {"column means": lambda seed: SimpleImputer()})
    monkeypatch.setattr(imputation, "EPOCHS", 60)
    args = ("reproduce", "imputation", "--configs", str(CONFIGS), "--seeds", "2")
    status, _, err = daezoo_command(*args)
    assert status == 0, err
    rows = rows_of(Path("docs/studies/imputation.csv"))
    errors = {
        name: [float(row["rmse"]) for row in rows if row["method"] == name]
        for name in (*imputation.OURS, "column means")
    }
    assert len(rows) == 6 and all(max(errors[name]) < 0.8 * min(errors["column means"]) for name in imputation.OURS)
    assert "| column means |" in results(Path("docs/studies"))
    status, out, err = daezoo_command(*args)
    assert (status, "seed 1:" in out) == (0, False), err
    assert len(rows_of(Path("docs/studies/imputation.csv"))) == 6
