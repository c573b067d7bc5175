import pytest

from conftest import CONFIGS
from daezoo.evaluation.anomaly import METRICS, SCORES
from daezoo.studies import anomaly
from daezoo.studies.anomaly_tables import section
from daezoo.studies.cells import rows_of


def row(model, left_out, seed, auroc):
    scores = {f"{name}_{metric}": "0.5" for name in SCORES for metric in METRICS} | {"clean_auroc": auroc}
    return {"data": "digits", "epochs": "1", "model": model, "left_out": left_out, "seed": seed} | scores


def test_a_table_has_the_mean_of_each_class_and_the_spread_of_the_seeds_that_have_all():
    rows = [row("a", "0", "0", "0.6"), row("a", "1", "0", "0.8"), row("a", "0", "1", "0.8"), row("a", "1", "1", "1")]
    text = section([*rows, row("b", "1", "0", "0.25")])
    assert "digits, 1 epochs:" in text
    assert "| a: reconstruction, clean | 70.0 | 90.0 | 80.00 ± 14.14 | 50.00 ± 0.00 | 50.00 ± 0.00 | 2 |" in text
    assert "| b: reconstruction, clean |  | 25.0 |  |  |  | 0 |" in text
    assert text.count("| isolation forest | 50.0 | 50.0 | 50.00 | 50.00 | 50.00 |  |") == 1


def test_a_class_is_left_out_in_training_and_judged_once(daezoo_command, workplace, monkeypatch):
    monkeypatch.setattr(anomaly, "CLASSES", range(2))
    monkeypatch.setattr(anomaly, "MODELS", {"tiny (8)": ("--model.hidden", "[8]")})
    args = ["reproduce", "anomaly", "--data", "digits", "--budget", "smoke", "--configs", str(CONFIGS)]
    status, out, err = daezoo_command(*args)
    assert status == 0, err
    assert "--data.classes '[1]'" in out
    rows = rows_of(workplace / "docs/studies/anomaly.csv")
    assert [one["left_out"] for one in rows] == ["0", "1"]
    assert all(0 <= float(one[f"{name}_{metric}"]) <= 1 for one in rows for name in SCORES for metric in METRICS)
    assert "| tiny (8): codes, kNN |" in (workplace / "docs/results.md").read_text()
    status, out, err = daezoo_command(*args)
    assert status == 0, err
    assert "daezoo fit" not in out
    assert rows_of(workplace / "docs/studies/anomaly.csv") == rows


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--budget", "huge"], "--budget must be one of smoke, minutes, full and --seeds at least 1, got huge"),
        (["--seeds", "0"], "--seeds at least 1, got minutes and 0"),
        (["--data", "digits,cifar10"], "--data must be of digits, mnist, with commas between, got digits,cifar10"),
        (["--configs", "nowhere"], "nowhere/trainer.yaml"),
    ],
)
def test_errors_of_use(daezoo_command, workplace, options, said):
    status, _, err = daezoo_command("reproduce", "anomaly", *options)
    assert status == 2
    assert said in err
    assert not list(workplace.iterdir())
