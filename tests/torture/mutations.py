"""Mistakes: in trees of values as YAML and checkpoints have them, in text, and in bytes."""

import datetime
from copy import deepcopy
from random import Random
from typing import Any

SYSTEM = {"class_path": "os.system", "init_args": {"command": "touch ran"}}
CLASSES = (
    *("os.system", "torch.nn.Linear", "builtins.int", "daezoo", "daezoo.models", "daezoo.models.base", "no.such.Class"),
    *("daezoo.models.VanillaDAE", "daezoo.models.StackedDAE", "daezoo.models.ConvDAE", "daezoo.models.ResidualDAE"),
    *("daezoo.models.DenoisingAutoencoder", "daezoo.data.DigitsData", "daezoo.data.ArraysData"),
    *("daezoo.data.MNISTData", "daezoo.corruption.Masking", "daezoo.corruption.Corruption", "daezoo.corruption.Clean"),
    *("daezoo.corruption.SaltAndPepper", "daezoo.losses.SquaredError", "daezoo.losses.CrossEntropy"),
    *("daezoo.optim.SGD", "daezoo.schedule.Uniform", "daezoo.architectures.UNet", "Masking", "masking", "."),
    *("daezoo.augmentation.Flip", "lightning.pytorch.callbacks.EMAWeightAveraging", "pathlib.Path", "eval"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, 3, -1, 10**9, 10**30, -(2**63), 2**63, 2**31, 0.5, -0.5, 1.5, 1e308, 1e-320),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "no", "null", "1", "1e3", "ü✂", "a\0b", "x" * 10_000),
    *("../../../etc/passwd", ".", "/proc/none/x", "a" * 300, datetime.date(2020, 1, 1), b"bytes", {"a", "b"}),
    *([], {}, [[]], [1, "a", None], [0], [-3], [10**9], [1, 2], [float("nan")], ["x"], {"x": 1}, {3: None}, [{}]),
    *({"class_path": 3}, {"class_path": None}, {"class_path": []}, {"init_args": 1}, SYSTEM, [SYSTEM]),
    *({"class_path": "daezoo.corruption.Masking", "init_args": []}, {"class_path": "daezoo.corruption.Masking"}),
    *({"class_path": "daezoo.optim.SGD", "init_args": {"lr": -1}}, [[[[[[[[[[1]]]]]]]]]]),
)
TEXTS = (
    *(" !!python/object/apply:os.system ['touch ran']", " !!python/name:os.system", "!!binary x", "!!int x", "&a [*a]"),
    *(
        "<<: *b",
        "<<: 3\n",
        "\t",
        "\t- x",
        "{",
        "}",
        "[",
        "? ",
        ": ",
        "- ",
        "---\n",
        "...\n",
        "%YAML 9\n",
        "\u0085",
        "\0",
    ),
    *("\ufeff", "'", '"', "|\n", "#", "*a", "@", "`", "\r", "=", "2020-13-45", "0o9", "1:99", "!", "!<x> ", "\ud7ff"),
)
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join(9 * [f'*a{n}'])}]\n" for n in range(12))
"""The billion laughs: a small text of 2 · 9¹² values."""


def places_in(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to each value of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in items for place in ((*path, key), *places_in(value, (*path, key)))]


def value_at(tree: Any, place: tuple[Any, ...]) -> Any:
    """What keys lead to."""
    for key in place:
        tree = tree[key]
    return tree


def mistaken(tree: Any, dice: Random, additions: dict[tuple[Any, ...], tuple[str, ...]] | None = None) -> Any:
    """A tree with a mistake.

    Args:
        tree: It is left alone.
        dice: What the mistake depends on.
        additions: Keys that may be added to the dictionary at a place.
    """
    tree = deepcopy(tree)
    places = places_in(tree)
    if not places or dice.random() < 0.02:
        return dice.choice(VALUES)
    place = dice.choice(places)
    parent, key = value_at(tree, place[:-1]), place[-1]
    kind = dice.randrange(8)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[dice.choice(("x", "", f"{key}s", str(key).upper(), 3, None, "class_path", "init_args"))] = parent.pop(
            key
        )
    elif kind == 2:
        parent[key] = deepcopy(value_at(tree, dice.choice(places)))
    elif kind == 3:
        parent[key] = dice.choice(([parent[key]], {"x": parent[key]}, str(parent[key]), [parent[key], parent[key]]))
    elif kind == 4 and (named := [one for one in places if one[-1] in ("class_path", "_class_path")]):
        place = dice.choice(named)
        value_at(tree, place[:-1])[place[-1]] = dice.choice(CLASSES)
    elif kind == 5 and additions:
        into, names = dice.choice(list(additions.items()))
        found = tree
        for step in into:
            found = found.setdefault(step, {}) if isinstance(found, dict) else None
        if isinstance(found, dict):
            found[dice.choice(names)] = deepcopy(dice.choice(VALUES))
    else:
        parent[key] = deepcopy(dice.choice(VALUES))
    return tree


def misspelt(text: str, dice: Random) -> bytes:
    """A YAML text with a mistake."""
    lines = text.splitlines(keepends=True) or [""]
    line = dice.randrange(len(lines))
    kind = dice.randrange(7)
    if kind == 0:
        return (
            dice.choice((LAUGHS, "[" * 5000, "{a: " * 3000, "- " * 3000, "a: &a {b: *a}\n", "")).encode()
            + text.encode()
        )
    if kind == 1:
        lines[line] *= 2
    elif kind == 2:
        lines[line] = " " * dice.randrange(5) + lines[line].lstrip()
    elif kind == 3:
        head, colon, tail = lines[line].partition(":")
        lines[line] = f"{head}{colon}{dice.choice((' &a', ' *a', *TEXTS))}{tail}"
    else:
        return damaged("".join(lines).encode(), dice)
    return "".join(lines).encode()


def damaged(content: bytes, dice: Random) -> bytes:
    """Bytes some of which are changed, missing or doubled."""
    found = bytearray(content or b"x")
    at = dice.randrange(len(found))
    head = dice.randrange(min(len(found), 200))  # headers say how to read the rest
    kind = dice.randrange(9)
    if kind == 0:
        del found[at:]
    elif kind == 1:
        for _ in range(dice.randrange(1, 20)):
            found[dice.randrange(len(found))] ^= 1 << dice.randrange(8)
    elif kind == 2:
        found[head] ^= 1 << dice.randrange(8)
    elif kind == 3:
        found[head : head + 8] = dice.randbytes(8)
    elif kind == 4:
        found[at : at + 50] = bytes(len(found[at : at + 50]))
    elif kind == 5:
        found[at:at] = found[: dice.randrange(1, 100)]
    elif kind == 6:
        del found[at : at + dice.randrange(1, 9)]
    elif kind == 7:
        found[at:at] = dice.choice(TEXTS).encode(errors="replace")
    else:
        return dice.choice((b"", b"\0", b"text\n", dice.randbytes(500), b"\x80\x05K\x01.", b"PK\x03\x04" + bytes(60)))
    return bytes(found)
