"""daezoo sample, through the command line, on tiny runs."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch.nn import functional as F

from conftest import fit_arguments
from daezoo.checkpoint import load_model, locate, read
from daezoo.cli import main
from daezoo.data import DigitsData
from daezoo.evaluation.sample_quality import PROTOCOL
from daezoo.sampling import Known, Means, chain
from daezoo.sampling_command import agreement, grid, of_asked_class, problem_of, quality, scatter
from daezoo.studies import samples
from daezoo.studies.cells import rows_of
from daezoo.studies.samples_tables import section
from daezoo.zoo import loading

FEW = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "4", "--trainer.precision", "32-true")
UNET = ("--model.network", "UNet", "--model.network.widths", "[4,8]", "--model.network.blocks", "1")
POINTS = ("--model.network", "Points", "--model.network.width", "16")
SPLITS = ("--data.train", "300", "--data.valid", "50", "--data.test", "50")
RUNS = {
    "score-digits": ("score", "digits", *UNET),
    "score-classes": ("score", "digits", *UNET, "--model.classes", "10"),
    "score-density": ("score", "density", *POINTS, *SPLITS),
    "walkback-digits": ("walkback", "digits", "--model.hidden", "[16]"),
    "vanilla-digits": ("vanilla", "digits", "--model.hidden", "[16]", "--model.loss", "SquaredError"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Tiny runs, one of them with an untrained classifier and one with random weights, by name."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    found = {name: str(folder / "-".join(arguments[:2]) / name) for name, arguments in RUNS.items()}
    with redirect_stdout(StringIO()):
        for name, arguments in RUNS.items():
            assert main(fit_arguments(*arguments, *FEW, "--runs", str(folder), "--name", name)) == 0
    contents = read(locate(Path(found["walkback-digits"]))) | {"labels": list(range(10))}
    weights = torch.randn(10, 16, generator=torch.Generator().manual_seed(0))
    contents["state_dict"] |= {"classifier.weight": weights, "classifier.bias": torch.zeros(10)}
    torch.save(contents, folder / "classifier.ckpt")
    other = read(locate(Path(found["score-classes"])))  # hardly trained, it tells no classes apart
    draw = torch.Generator().manual_seed(1)
    other["state_dict"] = {
        name: 0.2 * torch.randn(part.shape, generator=draw) for name, part in other["state_dict"].items()
    }
    torch.save(other, folder / "classes.ckpt")
    return found | {"classifier": str(folder / "classifier.ckpt"), "score-classes": str(folder / "classes.ckpt")}


@pytest.fixture
def sample(daezoo_command, runs, workplace):
    """Run daezoo sample on one of the runs; status, stdout, stderr."""

    def run(name: str, *args: str) -> tuple[int, str, str]:
        named = [runs["classifier"] if part == "CLASSIFIER" else part for part in args]
        return daezoo_command("sample", runs[name], "--device", "cpu", *named)

    return run


@pytest.fixture
def drawn(sample, workplace):
    """The array that daezoo sample writes."""

    def run(name: str, *args: str) -> np.ndarray:
        status, _, err = sample(name, *args, "--array", "x.npy", "--force")
        assert status == 0, err
        return np.load(workplace / "x.npy")

    return run


@pytest.fixture(scope="module")
def test_split():
    data = DigitsData()
    data.setup()
    return data.splits["test"].__getitems__(torch.arange(360))


# what is written


@pytest.mark.parametrize(("name", "kind"), [("g.png", "PNG"), ("g.webp", "WEBP")])
def test_a_picture_has_the_samples_side_by_side(sample, workplace, name, kind):
    status, out, err = sample("score-digits", "--n", "11", "--steps", "3", "--out", name, "--array", "x.npy")
    assert status == 0, err
    assert out.startswith(f"{name}, x.npy: 11 samples of ") and "ode, 3 steps" in out
    array = np.load(workplace / "x.npy")
    assert array.shape == (11, 1, 8, 8) and array.dtype == np.float32
    picture = Image.open(workplace / name)
    assert picture.format == kind and picture.size == (8 * 9 - 1, 2 * 9 - 1)
    pixels = np.asarray(picture.convert("L"))
    expected = np.rint(255 * array.clip(0, 1))
    assert np.array_equal(pixels[:8, :8], expected[0, 0]) and np.array_equal(pixels[9:, 18:26], expected[10, 0])
    assert not pixels[8].any() and not pixels[:, 8].any() and not pixels[9:, 27:].any()


def test_colours_stay_in_a_grid():
    pictures = torch.rand(3, 3, 4, 5)
    pixels = np.asarray(grid(pictures, 2))
    assert pixels.shape == (9, 11, 3)
    assert np.array_equal(pixels[5:, :5], (255 * pictures[2]).round().byte().permute(1, 2, 0).numpy())


def test_few_pictures_make_one_row_without_gaps():
    assert grid(torch.rand(3, 1, 4, 5), 8).size == (3 * 6 - 1, 4)
    assert grid(torch.rand(1, 3, 4, 5), 8).size == (5, 4)


@pytest.mark.parametrize("run", ["score-digits", "walkback-digits"])
def test_the_first_of_many_are_those_of_few(drawn, run):
    many, few = (drawn(run, "--n", n, "--steps", "3") for n in ("70", "3"))
    assert (len(many), len(few)) == (70, 3)
    assert np.array_equal(many[:3], few)
    assert len(np.unique(many.reshape(70, -1), axis=0)) == 70  # batches have noise of their own


@pytest.mark.parametrize("run", ["score-digits", "walkback-digits"])
def test_a_seed_says_what_is_drawn(drawn, run):
    one, again, other = (drawn(run, "--n", "2", "--steps", "3", "--seed", seed) for seed in "778")
    assert np.array_equal(one, again)
    assert not np.isclose(one, other).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize(("sampler", "steps"), [("ode", 18), ("stochastic", 32), ("langevin", 5)])
def test_samplers_of_scores_run(sample, workplace, sampler, steps):
    chosen = ("--steps", "5") if sampler == "langevin" else ()  # it takes ten steps at each of its levels
    status, out, err = sample("score-digits", "--sampler", sampler, "--n", "2", "--json", "--array", "x.npy", *chosen)
    assert status == 0, err
    found = json.loads(out)
    assert (found["sampler"], found["steps"], found["n"], found["seed"]) == (sampler, steps, 2, 0)
    assert np.isfinite(np.load(workplace / "x.npy")).all()


def test_samplers_differ(drawn):
    options = ("score-digits", "--n", "1", "--steps", "3", "--sampler")
    found = [drawn(*options, name) for name in ("ode", "stochastic", "langevin")]
    assert not any(np.allclose(one, found[k - 1], atol=1e-3) for k, one in enumerate(found))


def test_the_chain_is_what_suits_a_walkback_model(sample):
    status, out, err = sample("walkback-digits", "--n", "2", "--json", "--sampler", "chain")
    assert status == 0, err
    chosen = json.loads(sample("walkback-digits", "--n", "2", "--json", "--force")[1])
    assert chosen | {"seconds": 0} == json.loads(out) | {"seconds": 0}
    assert (chosen["sampler"], chosen["steps"]) == ("chain", 100)


def test_chains_start_from_training_samples(drawn, monkeypatch):
    starts = []

    def watched(model, corruption, start, *others):
        starts.append(start)
        return chain(model, corruption, start, *others)

    monkeypatch.setattr("daezoo.sampling_command.chain", watched)
    drawn("walkback-digits", "--n", "70", "--steps", "2")
    data = DigitsData()
    data.setup()
    train = data.splits["train"]
    known = {sample.numpy().tobytes() for sample in train.__getitems__(torch.arange(len(train))).clean.float()}
    assert len(starts) == 2 and all(sample.numpy().tobytes() in known for sample in torch.cat(starts))
    assert not torch.equal(*starts)


@pytest.mark.parametrize("name", ["f.gif", "f.webp"])
def test_frames_show_every_level(sample, workplace, name):
    status, out, err = sample("score-digits", "--n", "3", "--steps", "5", "--frames", name, "--array", "x.npy")
    assert status == 0, err
    assert out.startswith(f"samples.png, {name}, x.npy: ")
    with Image.open(workplace / name) as moving:
        frames = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(moving)]
    assert len({frame.tobytes() for frame in frames}) == 5
    last = np.asarray(Image.open(workplace / "samples.png"))
    assert np.array_equal(frames[-1], last)
    assert frames[0].shape == last.shape


def test_points_are_drawn_beside_training_points(sample, workplace):
    for name, kind in (("p.png", "PNG"), ("p.webp", "WEBP")):
        options = ("--n", "5", "--steps", "3", "--array", "x.npy", "--force")
        status, _, err = sample("score-density", *options, "--out", name)
        assert status == 0, err
        with Image.open(workplace / name) as picture:
            assert picture.format == kind and picture.width > 600
    assert np.load(workplace / "x.npy").shape == (5, 2)


def test_samples_of_several_dimensions_are_points():
    axes = scatter(torch.arange(24.0).view(2, 3, 4), torch.zeros(5, 3, 4)).axes[0]
    assert axes.collections[0].get_offsets().tolist() == [[0, 11], [12, 23]]


# what is known


@pytest.mark.parametrize("sampler", ["ode", "stochastic"])
@pytest.mark.parametrize("problem", ["top-half", "missing-80", "half-size"])
def test_what_is_known_is_kept(drawn, test_split, workplace, problem, sampler):
    options = ("--n", "12", "--each", "6", "--steps", "3", "--seed", "4", "--sampler", sampler)
    found = torch.from_numpy(drawn("score-digits", "--known", problem, *options))
    clean = test_split.clean[:12].float()
    assert found.shape == (72, 1, 8, 8)
    picture = np.asarray(Image.open(workplace / "samples.png"))
    assert picture.shape == (12 * 9 - 1, 8 * 9 - 1)
    assert np.array_equal(picture[-8:, :8], (255 * clean[-1, 0]).round().numpy())
    known, _ = problem_of(problem, clean, 4)
    whole = clean.repeat_interleave(6, 0)
    if problem == "half-size":
        assert torch.allclose(F.avg_pool2d(found, 2), F.avg_pool2d(whole, 2), atol=1e-5)
        assert known.small.shape == (12, 1, 4, 4)
    else:
        mask = known.mask.repeat_interleave(6, 0)
        assert torch.equal(found[mask], whole[mask])
        assert (found[~mask] != whole[~mask]).float().mean() > 0.9
    groups = found.view(12, 6, -1)
    assert (groups[:, 0] != groups[:, 1]).any(1).all()


def test_problems_know_what_they_say():
    clean = torch.rand(400, 3, 8, 8)
    top, shown = problem_of("top-half", clean, 0)
    assert not top.mask[:, :, :4].any() and top.mask[:, :, 4:].all()
    assert (shown[:, :, :4] == 0.5).all() and torch.equal(shown[:, :, 4:], clean[:, :, 4:])
    few = problem_of("missing-80", clean, 0)[0].mask
    assert 0.19 < few.float().mean() < 0.21
    assert torch.equal(few.all(1), few.any(1))  # of a pixel, all colours
    assert not torch.equal(few, problem_of("missing-80", clean, 1)[0].mask)
    small, shown = problem_of("half-size", clean, 0)
    assert torch.allclose(small.small[7, 1, 2, 3], clean[7, 1, 4:6, 6:8].mean())
    assert torch.equal(shown[:, :, ::2, 1::2], small.small)
    with pytest.raises(ValueError, match=r"pictures of even size, got samples of \(3, 7, 8\)"):
        problem_of("half-size", clean[:, :, :7], 0)


def test_what_is_known_goes_to_the_model():
    clean, rows, other = torch.rand(4, 1, 8, 8), torch.tensor([2, 0]), torch.device("meta")
    parts, small = Known(clean, clean > 0.5).take(rows, other), Means(clean).take(rows, other)
    assert {part.device for part in (parts.samples, parts.mask, small.small)} == {other}
    assert torch.equal(Known(clean, clean > 0.5).take(rows).samples, clean[rows])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("options", [("--known", "missing-80"), ("--known", "half-size"), ("--sampler", "langevin")])
def test_a_gpu_draws_and_is_judged(sample, workplace, options):
    asked = ("--n", "4", "--steps", "3", "--quality", "--classifier", "CLASSIFIER", "--frames", "f.gif")
    status, _, err = sample("score-digits", *options, *asked, "--device", "cuda")
    assert status == 0, err


# what is measured


def test_quality_is_printed_beside_training_samples(sample):
    status, out, err = sample("score-digits", "--n", "20", "--steps", "3", "--quality", "--classifier", "CLASSIFIER")
    assert status == 0, err
    lines = out.splitlines()
    assert max(len(line) for line in lines[1:-1]) <= 80
    for word in ("Parzen (nats)", "width", "Fréchet", "confidence", "nearest", "│ training samples │", "│ samples  "):
        assert word in out
    assert "…" not in out and "judged by" in lines[1]
    assert lines[-1] == PROTOCOL


def test_what_is_measured_is_json_and_nothing_else(sample, workplace, runs):
    options = ("--quality", "--classifier", "CLASSIFIER", "--known", "top-half", "--each", "2", "--n", "30")
    status, out, err = sample("score-digits", *options, "--steps", "3", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["n"] == 60 and found["judge"] == runs["classifier"]
    names = {"parzen_nats", "parzen_standard_error", "parzen_sigma", "frechet", "confidence", "nearest"}
    for kind in ("samples", "training samples"):
        assert found[kind].keys() == names
        assert all(np.isfinite(value) for value in found[kind].values())
    assert found["training samples"]["parzen_nats"] > found["samples"]["parzen_nats"]  # of a model that learnt nothing
    assert found["training samples"]["frechet"] < found["samples"]["frechet"]
    assert found["of_pictures"] <= 30
    assert sorted(path.name for path in workplace.glob("*.*")) == ["samples.png"]


def test_the_zoo_judges_digits(sample):
    status, out, err = sample("walkback-digits", "--n", "50", "--steps", "2", "--quality", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["judge"] == "stacked.digits-mask"
    assert found["training samples"]["frechet"] < found["samples"]["frechet"]


def test_a_judge_without_classifier_says_nothing_of_classes(sample, runs):
    status, out, err = sample(
        "walkback-digits", "--n", "3", "--steps", "2", "--quality", "--classifier", runs["walkback-digits"], "--json"
    )
    assert status == 0, err
    assert json.loads(out)["samples"]["confidence"] is None


def test_no_share_is_told_of_no_pictures(sample, workplace):
    pictures = np.random.default_rng(0).integers(0, 256, (150, 8, 8), np.uint8)  # without labels
    np.savez(workplace / "my.npz", train_images=pictures, test_images=pictures[:5])
    options = ("--known", "top-half", "--each", "1", "--steps", "2", "--quality", "--classifier", "CLASSIFIER")
    options += ("--data", "arrays", "--data.path", "my.npz")
    status, out, err = sample("score-digits", *options)
    assert status == 0, err
    assert "nan" not in out and "classified right" not in out
    found = json.loads(sample("score-digits", *options, "--json", "--force")[1])
    assert found["of_pictures"] == 0 and found["classified_right"] is None


class Judge:
    """Takes a sample's numbers for logits of the classes 3, 5 and 8."""

    labels = (3, 5, 8)

    def classify(self, x):
        return x


def test_agreement_by_hand():
    clean = torch.eye(3)  # classified as 3, 5 and 8
    labels = torch.tensor([3, 5, 3])  # the last is classified wrong when whole, and does not count
    of_first = [[1.0, 0, 0], [1.0, 0, 0], [0, 0.1, 0]]
    of_second = [[1.0, 0, 0], [1.0, 0, 0], [0, 0.1, 0]]
    of_third = [[1.0, 0, 0]] * 3
    found = agreement(torch.tensor(of_first + of_second + of_third), clean, labels, Judge())
    assert found == {
        "classified_right": pytest.approx((2 / 3 + 1 / 3) / 2),
        "classified_right_together": 0.5,
        "of_pictures": 2,
    }


@pytest.mark.parametrize("sampler", ["ode", "langevin"])
def test_labels_are_asked_for_in_turn(sample, drawn, workplace, sampler):
    few = ("--n", "6", "--steps", "3", "--sampler", sampler)
    found = drawn("score-classes", *few, "--labels", "3", "0", "7")
    with Image.open(workplace / "samples.png") as image:
        assert image.size == (3 * 9 - 1, 2 * 9 - 1)
    alone = drawn("score-classes", *few, "--labels", "3")
    np.testing.assert_allclose(found[::3], alone[::3], atol=1e-6)
    assert not np.allclose(found[1::3], alone[1::3], atol=1e-6)
    surer = drawn("score-classes", *few, "--labels", "3", "--guidance", "3")
    assert not np.allclose(surer, alone, atol=1e-6)
    judged = ("--quality", "--classifier", "CLASSIFIER", "--force")
    status, out, err = sample("score-classes", *few, "--labels", "3", "0", *judged)
    assert status == 0, err
    assert "of the class they were asked for: " in out


def test_completed_pictures_can_be_asked_to_be_of_a_class(drawn, test_split):
    known = ("--known", "top-half", "--n", "2", "--each", "3", "--steps", "3")
    found, same, free = (
        drawn("score-classes", *known, *labels) for labels in (("--labels", "4", "9"), ("--labels", "4"), ())
    )
    # of every picture the first and the third are to be a 4
    np.testing.assert_allclose(found[[0, 2, 3, 5]], same[[0, 2, 3, 5]], atol=1e-5)
    for others in (same[[1, 4]], free[[1, 4]]):
        assert (np.abs(found[[1, 4]] - others).max((1, 2, 3)) > 1e-3).all()
    np.testing.assert_array_equal(found[:, :, 4:], test_split.clean[:2, :, 4:].repeat_interleave(3, 0))


def test_asked_classes_by_hand():
    assert of_asked_class(torch.eye(3), (3, 5), Judge()) == pytest.approx(2 / 3)  # 3, 5, 8 where 3, 5, 3 were asked


# errors

WRONG = [
    ("score-digits", ["--labels", "3"], "was not told classes. Train with --model.classes"),
    ("score-classes", ["--labels", "10"], "Labels must lie in 0 to 9"),
    ("score-classes", ["--labels", "3", "--guidance", "-1"], "guidance be at least 0"),
    ("score-classes", ["--guidance", "2"], "--guidance is towards a class: say which, --labels 3"),
    ("walkback-digits", ["--labels", "3"], "--labels is for models of model score"),
    ("score-digits", ["--sampler", "chain"], "chain does not suit a PreconditionedDAE"),
    ("walkback-digits", ["--sampler", "ode"], "ode does not suit a VanillaDAE"),
    ("walkback-digits", ["--known", "top-half"], "--known is for the samplers ode and stochastic"),
    ("score-digits", ["--known", "top-half", "--sampler", "langevin"], "--known is for the samplers"),
    ("score-density", ["--known", "top-half"], "is for pictures"),
    ("score-density", ["--frames", "f.gif"], "--quality and --frames are for pictures"),
    ("score-density", ["--quality", "--classifier", "CLASSIFIER"], "--quality and --frames are for pictures"),
    ("vanilla-digits", ["--n", "2"], "SquaredError is of no distribution that could be sampled"),
    ("classifier", ["--n", "2"], "fine-tuned to classify"),
    ("score-digits", ["--quality", "--classifier", "CLASSIFIER", "--n", "1"], "two samples or more"),
    ("score-digits", ["--quality", "--classifier", "stacked.mnist-mask25"], "shape"),
    ("score-digits", ["--n", "0"], "at least 1"),
    ("score-digits", ["--each", "0", "--known", "top-half"], "at least 1"),
    ("score-digits", ["--steps", "1"], "2 steps or more"),
    ("score-digits", ["--seed", "-1"], "seed of at least 0"),
    ("score-digits", ["--out", "g.jpg"], "g.jpg must end in .png or .webp"),
    ("score-digits", ["--out", ""], "must end in .png"),
    ("score-digits", ["--frames", "f.png"], "f.png must end in .gif or .webp"),
    ("score-digits", ["--array", "x.npz"], "x.npz must end in .npy"),
    ("score-digits", ["--data", "digits"], "here the model is all that is used"),
    ("score-digits", ["--root", "/nowhere"], "here the model is all that is used"),
    ("score-digits", ["--out", "a.webp", "--frames", "./a.webp"], "must be different files"),
    ("score-digits", ["--classifier", "CLASSIFIER"], "say --quality too"),
    ("score-digits", ["--quality", "--classifier", "vanilla.nope"], "vanilla.nope"),
    ("score-digits", ["--device", "cuda:99"], "--device cuda:99 cannot be used"),
    ("score-digits", ["--sampler", "euler"], "'ode', 'stochastic', 'langevin', 'chain'"),
]


@pytest.mark.parametrize(("run", "options", "message"), WRONG, ids=[" ".join(each[1]) for each in WRONG])
def test_what_does_not_fit_is_said_and_nothing_written(sample, workplace, run, options, message):
    before = sorted(workplace.rglob("*"))
    status, out, err = sample(run, *options)
    assert (status, out) == (2, "")
    assert err.startswith("daezoo: error: ") and err.count("\n") == 1 and message in err
    assert sorted(workplace.rglob("*")) == before


@pytest.mark.parametrize("option", ["--out g.png", "--frames g.gif", "--array g.npy"])
def test_what_is_there_is_written_over_by_force_only(sample, workplace, option):
    name = option.split()[1]
    (workplace / name).write_bytes(b"mine")
    status, _, err = sample("score-digits", "--n", "1", "--steps", "2", *option.split())
    assert status == 2 and "--force" in err
    assert [path.name for path in workplace.glob("*.*")] == [name]
    assert (workplace / name).read_bytes() == b"mine"
    assert sample("score-digits", "--n", "1", "--steps", "2", *option.split(), "--force")[0] == 0
    assert (workplace / name).read_bytes() != b"mine"


def test_a_folder_is_not_written_over(sample, workplace):
    (workplace / "g.png").mkdir()
    status, _, err = sample("score-digits", "--out", "g.png", "--force")
    assert status == 2 and "g.png exists" in err
    assert not list((workplace / "g.png").iterdir())


def test_a_target_that_is_not_there_is_named(daezoo_command, workplace):
    status, out, err = daezoo_command("sample", "runs/nope/1")
    assert (status, out) == (2, "")
    assert err.startswith("daezoo: error: ") and "runs/nope/1" in err
    assert not any(workplace.glob("*.*"))


def test_data_without_a_judge_in_the_zoo_needs_one(sample, workplace):
    pictures = np.zeros((150, 8, 8), np.uint8)
    np.savez(workplace / "my.npz", train_images=pictures, test_images=pictures)
    status, out, err = sample("score-digits", "--quality", "--data", "arrays", "--data.path", "my.npz")
    assert (status, out) == (2, "") and "--classifier TARGET" in err
    assert [path.name for path in workplace.glob("*.*")] == ["my.npz"]


def test_channels_that_no_picture_has_are_refused(sample, workplace, monkeypatch, runs):
    def two_channels(path, checkpoint):
        model = load_model(path, checkpoint)
        model.shape = (2, 8, 8)
        return model

    monkeypatch.setattr("daezoo.sampling_command.load_model", two_channels)
    status, out, err = sample("score-digits")
    assert (status, out) == (2, "") and "one channel or three" in err
    assert not any(workplace.glob("*.*"))


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")])
def test_what_cannot_be_written_is_said_and_nothing_left(sample, workplace, monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    # chmod does not stop root, who runs the tests in containers
    monkeypatch.setattr("daezoo.files.os.fsync", refuse)
    status, out, err = sample("score-digits", "--n", "2", "--steps", "2", "--frames", "f.gif")
    assert (status, out) == (2, "")
    assert err.startswith("daezoo: error: ") and str(error.strerror) in err and "samples.png" in err
    assert not [path for path in workplace.iterdir() if path.is_file()]


# the study


def row(target: str, sampler: str, known: str = "") -> dict[str, str]:
    measured = {"parzen_nats": "12.34", "parzen_standard_error": "0.51", "parzen_sigma": "0.2", "frechet": "1.5"}
    measured |= {"confidence": "", "nearest": "3.25"}
    beside = {f"training_{name}": value for name, value in measured.items()} | {"training_parzen_nats": "99.96"}
    free = {**measured, **beside, "mse_of_mean": "", "classified_right": "", "classified_right_together": ""}
    done = {"mse_of_mean": "0.0123", "classified_right": "0.5", "classified_right_together": "0.75"}
    cells = dict.fromkeys(free, "") | done | {"of_pictures": "40"} if known else free | {"of_pictures": ""}
    return {"target": target, "sampler": sampler, "known": known, "n": "800", "seconds": "7.5", **cells}


def test_the_study_renders_rows_of_both_kinds():
    rows = [row("unet.mnist-score", "ode"), row("unet.mnist-score", "stochastic")]
    text = section(rows)
    assert "| unet.mnist-score, ode | 800 | 12.3 ± 0.5 | 0.2 | 1.5 |  | 3.25 | 7.5 |" in text
    assert text.count("| training samples of mnist | 800 | 100.0 ± 0.5 |") == 1
    assert "](images/samples-unet-mnist-score-stochastic.png)" in text
    assert "mse" not in text
    alone = row("unet.mnist-score", "none", "top-half")
    del alone["mse_of_mean"]
    text = section([*rows, alone, row("unet.mnist-score", "ode", "top-half")])
    assert "| top-half: a classifier | 40 | 50.0 % | 75.0 % |  | 7.5 |" in text
    assert "| top-half: unet.mnist-score, ode | 40 | 50.0 % | 75.0 % | 0.0123 | 7.5 |" in text
    unsure = row("unet.mnist-score", "ode", "half-size") | {"classified_right": "", "classified_right_together": ""}
    assert "| half-size: unet.mnist-score, ode | 40 |  |  | 0.0123 | 7.5 |" in section([*rows, unsure])
    assert text.count("-top-half.png)") == text.count("](images/samples-unet-mnist-score-ode-top-half.png)") == 1


class Neighbour:
    """Classifies as the nearest training sample."""

    labels = tuple(range(10))
    classifier = True

    def __init__(self, data):
        self.train = data.splits["train"].__getitems__(torch.arange(len(data.splits["train"])))

    def classify(self, x):
        nearest = torch.cdist(x.flatten(1), self.train.clean.flatten(1)).argmin(1)
        return F.one_hot(self.train.label[nearest], 10).float()


def test_a_classifier_of_what_is_known_is_between_chance_and_the_whole():
    data = DigitsData()
    data.setup()
    found = samples.by_known_alone("top-half", data, Neighbour(data), 2000, 0)
    assert 90 <= found["of_pictures"] <= 100
    assert 0.3 < found["classified_right"] < found["classified_right_together"] < 1
    again = samples.by_known_alone("top-half", data, Neighbour(data), 2000, 0)
    assert found | {"seconds": 0} == again | {"seconds": 0}


def test_the_study_measures_draws_and_goes_on_where_it_stopped(runs, workplace, monkeypatch, capsys):
    contents = read(locate(Path(runs["score-digits"])))
    contents["datamodule_hyper_parameters"]["split_seed"] = 1
    torch.save(contents, workplace / "other.ckpt")
    trials = (samples.Trial("other.ckpt", "ode"), samples.Trial("other.ckpt", "ode", "top-half"))
    monkeypatch.setattr(samples, "TRIALS", trials)
    monkeypatch.setattr(samples, "judge_of", lambda data, name: ("neighbour", Neighbour(data)))
    encoder, judged = load_model(*loading.open_target(runs["vanilla-digits"], None)).eval(), []

    def judge(drawn, data, judge):
        judged.append(data)
        return quality(drawn, data, encoder)

    monkeypatch.setattr(samples, "quality", judge)
    arguments = ["--n", "60", "--docs", "docs"]
    samples.run(arguments)
    assert capsys.readouterr().out.count("daezoo sample other.ckpt") == 2
    assert [data.hparams["split_seed"] for data in judged] == [0]  # beside data as it comes, not as the run had it
    free, known = rows_of(workplace / "docs" / "studies" / "samples.csv")
    assert float(free["frechet"]) > float(free["training_frechet"]) > 0
    assert int(known["of_pictures"]) == 3 and 0 <= float(known["classified_right"]) <= 1
    pictures = {}
    for path in (workplace / "docs" / "images").iterdir():
        with Image.open(path) as image:
            pictures[path.stem] = image.size
    assert pictures == {
        "samples-other-ckpt-ode": (16 * 9 - 1, 4 * 9 - 1),
        "samples-other-ckpt-ode-nearest": (16 * 9 - 1, 2 * 9 - 1),
        "samples-other-ckpt-ode-top-half": (18 * 9 - 1, 8),
    }
    samples.run(arguments)
    assert "daezoo sample" not in capsys.readouterr().out
